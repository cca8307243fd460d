"""The contracts of import-linter hold, and a planted violation of each breaks them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "transforms", "pipelines")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path) -> tuple[int, str]:
    # `-P` and PYTHONPATH: the packages of the copy, and not those that are installed.
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo"]
    environment = {"PYTHONPATH": str(tree), "PATH": ""}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("transforms/helpers.py", "", "layers of transforms"),
        ("transforms/extra/__init__.py", "", "layers of transforms"),
        ("pipelines/extra.py", "", "layers of pipelines"),
        ("transforms/recognition/recognizer.py", "import apache_beam", "only transforms.dofns imports Beam"),
        ("model/interface.py", "import apache_beam", "only transforms.dofns imports Beam"),
        ("transforms/core/text.py", "import transforms.audio.ogg", "layers of transforms"),
        ("transforms/merging/merge.py", "import transforms.writing.rows", "layers of transforms"),
        ("transforms/core/text.py", "import model.tokens", "only the interface"),
        ("model/tokens.py", "import transforms.core.text", "pipelines -> transforms -> model"),
    ],
)
def test_a_planted_violation_is_found(tree: Path, file: str, line: str, contract: str) -> None:
    path = tree / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{line}\n")
    code, output = lint(tree)
    assert code == 1, output
    assert any(contract in row and "BROKEN" in row for row in output.splitlines()), output


def test_all_contracts_are_kept(tree: Path) -> None:
    code, output = lint(tree)
    assert (code, "BROKEN" in output) == (0, False), output
