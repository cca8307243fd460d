"""Conventions that a reader relies on: where tests are, how long things are, and which words are used."""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "transforms", "pipelines")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PROGRAMS = sorted(path for name in ("benchmarks", "scripts") for path in (ROOT / name).rglob("*.py"))
MAX_FUNCTION_LINES, MAX_FILE_LINES, MAX_WHAT_DOCSTRINGS = 60, 400, 9
# The field's terms are decode, recognise, pass, report, message: see the glossary in docs/architecture.md.
PRIVATE_WORDS = re.compile(
    r"\b(hear|hears|heard|hearing|unheard|told|said|somebody|nobody|spelt|looks? by looks?|second looks?)\b",
    re.IGNORECASE,
)
PRIVATE_NAMES = {"hear", "heard", "hears", "hearing", "look", "looks", "told", "said", "somebody", "nobody"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, those of attributes too: every string that is a statement of its own."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_constant and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def words_of(identifier: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def private_names(path: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        is_name = token.type == tokenize.NAME and not keyword.iskeyword(token.string)
        if is_name and words_of(token.string) & PRIVATE_NAMES:
            yield f"{name_of(path)}:{token.start[0]}: {token.string}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_each_module_has_a_test_file_of_its_name(path: Path) -> None:
    if path.name != "__init__.py":
        folder = path.parent.relative_to(ROOT)
        assert (ROOT / "tests" / folder / f"test_{path.name}").exists()


@pytest.mark.parametrize("path", [*SOURCES, *PROGRAMS], ids=name_of)
def test_functions_and_files_are_short(path: Path) -> None:
    long = [f.name for f in functions(path) if (f.end_lineno or 0) - f.lineno >= MAX_FUNCTION_LINES]
    assert long == []
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_are_standard_terms(path: Path) -> None:
    assert list(private_names(path)) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_docstrings_use_standard_terms(path: Path) -> None:
    assert [(line, text) for line, text in docstrings(path) if PRIVATE_WORDS.search(text)] == []


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    found = [
        f"{name_of(path)}:{line}"
        for path in SOURCES
        for line, text in docstrings(path)
        if re.match(r"What\b", text.strip())
    ]
    assert len(found) <= MAX_WHAT_DOCSTRINGS, found
