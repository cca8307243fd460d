"""The pages for readers: what they mention must exist, and the README stays short."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.command_line import parse
from pipelines.options import TranscribeOptions
from pipelines.server.options import ServeOptions

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *ROOT.glob("docs/*.md")]
MAX_README_LINES = 170
FOLDERS = "benchmarks|docker|docs|model|pipelines|samples|scripts|tests|transforms"
PATH = re.compile(rf"(?<![\w/.$-])(?:{FOLDERS})/(?:[\w.-]+/)*(?:[\w.-]*\w)?")
TEST_FILE = re.compile(r"(?<![\w/])test_\w+\.py")
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#]*)#?([^)]*)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-zA-Z](?:[\w-]*\w)?(?![\w-])")
PROGRAM = re.compile(r"python3? -m ([\w.]+)")
MODULE = re.compile(r"`((?:benchmarks|model|pipelines|transforms)(?!\.(?:bin|pt|safetensors))(?:\.\w+)+)`")
FOREIGN_MODULES = {"apache_beam.runners.worker.worker_pool_main", "pytest"}
FOREIGN_FLAGS = {
    *("help", "version"),
    *("file", "tag", "build_arg", "rm"),  # docker
    *("image", "sdk_language", "metadata_file", "template_file_gcs_location", "staging_location"),  # gcloud
    *("max_workers", "additional_experiments", "parameters"),
    "strict_checksums",  # Maven
    "setup_file",
    "service_port",  # of Beam's pool of workers
    *("flink_version", "flink_job_server_jar", "spark_job_server_jar"),  # added by Beam's runners
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def normal(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def anchors(page: Path) -> set[str]:
    """Anchors of the headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def known_flags() -> frozenset[str]:
    options = [*fields(TranscribeOptions), *fields(ServeOptions)]
    ours = {option.name for option in options}
    switches = {f"no_{option.name}" for option in options if option.default is True}
    programs = [*ROOT.glob("benchmarks/**/*.py"), ROOT / "pipelines/evaluate.py"]
    added = {
        normal(flag)
        for program in programs
        for flag in re.findall(r'add_argument\(\s*"(--[\w-]+)"', text_of(program))
    }
    beam = set(PipelineOptions([]).get_all_options())
    return frozenset(ours | switches | added | beam | FOREIGN_FLAGS)


def commands_of(page: Path, program: str) -> list[list[str]]:
    """The arguments of each fenced command line of a program."""
    blocks = [block for language, block in FENCED.findall(text_of(page)) if language == "bash"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.strip().removeprefix(program) for line in lines if line.strip().startswith(program)]
    return [shlex.split(re.sub(r"\$\([^)]*\)", "", line), comments=True) for line in found]


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist(page: Path) -> None:
    mentioned = set(PATH.findall(text_of(page)))
    assert [path for path in sorted(mentioned) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_test_files_exist(page: Path) -> None:
    mentioned = set(TEST_FILE.findall(text_of(page)))
    assert mentioned <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_exist(page: Path) -> None:
    text = text_of(page)
    names = {*PROGRAM.findall(text), *MODULE.findall(text)} - FOREIGN_MODULES
    paths = {name: ROOT / name.replace(".", "/") for name in names}
    assert [
        name for name, path in paths.items() if not (path.with_suffix(".py").exists() or path.is_dir())
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_exist(page: Path) -> None:
    mentioned = set(FLAG.findall(text_of(page)))
    assert sorted(flag for flag in mentioned if normal(flag) not in known_flags()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documented_commands_are_valid(page: Path) -> None:
    for arguments in commands_of(page, "whisper-beam transcribe "):
        if "--help" in arguments:
            continue
        _, beam_args = parse([word for word in arguments if word != "..."])
        unknown = [
            word
            for word in beam_args
            if word.startswith("-") and normal(word.split("=")[0]) not in known_flags()
        ]
        assert unknown == []


@pytest.mark.parametrize("name", ["architecture", "decisions"])
def test_class_names_exist(name: str) -> None:
    sources = [
        path for folder in ("model", "transforms", "pipelines") for path in (ROOT / folder).rglob("*.py")
    ]
    words = {word for path in sources for word in re.findall(r"\w+", text_of(path))}
    mentioned = re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", text_of(ROOT / "docs" / f"{name}.md"))
    assert set(mentioned) <= words
