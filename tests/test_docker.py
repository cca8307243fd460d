"""The images that cannot be built in a test: their versions, and that what they name is there."""

from __future__ import annotations

import json
import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from apache_beam.version import __version__ as beam_version

from pipelines.server.command import parse

ROOT = Path(__file__).parents[1]
CPU = ROOT / "docker" / "Dockerfile.cpu"
ON_CPU_IMAGE = ("Dockerfile.cuda", "Dockerfile.tpu")
SERVE = "Dockerfile.serve"


def instructions(name: str) -> list[tuple[str, str]]:
    """Each instruction and its arguments, in order."""
    text = (ROOT / "docker" / name).read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def arguments(name: str, instruction: str) -> list[str]:
    return [told for found, told in instructions(name) if found == instruction]


def copied() -> dict[str, str]:
    """What Dockerfile.cpu takes of this tree, to where."""
    words = [told.split() for told in arguments(CPU.name, "COPY") if not told.startswith("--from")]
    return {source: goes_to for *sources, goes_to in words for source in sources}


def test_beam_and_python_are_those_that_are_tested() -> None:
    assert f"BEAM_VERSION={beam_version}" in arguments(CPU.name, "ARG")
    assert f"apache-beam=={beam_version}" in (ROOT / "constraints.txt").read_text().splitlines()
    images = arguments(CPU.name, "FROM")
    pythons = [re.findall(r"python:?(3\.?\d\d)", image)[0] for image in images]
    assert [python.replace(".", "") for python in pythons] == ["311"] * 3


def test_what_is_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignored, source
    assert {"model", "transforms", "pipelines", "setup.py", "constraints.txt"} <= copied().keys()


def test_the_launcher_finds_its_program() -> None:
    (program,) = (
        told.partition("=")[2] for told in arguments(CPU.name, "ENV") if told.startswith("FLEX_TEMPLATE")
    )
    assert program == copied()["pipelines/transcribe.py"]
    assert arguments(CPU.name, "ENTRYPOINT") == ['["/opt/apache/beam/boot"]']


def test_what_is_installed_exists() -> None:
    extras = re.findall(r"^ARG EXTRAS=(.*)$", CPU.read_text(), re.MULTILINE)[0].split(",")
    served = re.findall(r'"\.\[([\w,]+)\]"', (ROOT / "docker" / SERVE).read_text())[0].split(",")
    declared = re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert {*extras, *served} <= set(declared)
    assert "serve" in served
    assert "dataflow" in extras
    of_jax = metadata("jax").get_all("Provides-Extra") or []
    for name in ON_CPU_IMAGE:
        (extra,) = re.findall(r'"jax\[(\w+)\]"', (ROOT / "docker" / name).read_text())
        assert extra in of_jax


def test_the_server_listens_on_every_address_of_its_container() -> None:
    (words,) = arguments(SERVE, "ENTRYPOINT")
    program, command, *options = json.loads(words)
    assert (program, command) == ("whisper-beam", "serve")
    assert (parse(options).host, arguments(SERVE, "EXPOSE")) == ("0.0.0.0", [str(parse(options).port)])


def test_the_image_of_the_server_has_the_tree_of_the_other() -> None:
    assert arguments(SERVE, "COPY") == [
        told for told in arguments(CPU.name, "COPY") if not told.startswith(("--from", "pipelines/"))
    ]


@pytest.mark.parametrize("name", [CPU.name, *ON_CPU_IMAGE, SERVE])
def test_versions_are_pinned(name: str) -> None:
    installs = [told for told in arguments(name, "RUN") if "pip install" in told]
    assert installs
    assert all("--constraint" in told and told.endswith("&& pip check") for told in installs)
    assert all(":" in image or "${" in image for image in arguments(name, "FROM"))
    assert "latest" not in (ROOT / "docker" / name).read_text()
