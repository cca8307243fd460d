"""The set-up, against an interpreter that only writes down what it was told to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED_FROM = ("setup.py", "pyproject.toml", "constraints.txt")

FAKE_PYTHON = """#!/usr/bin/env bash
[[ $1 != -c ]] || exit 0
echo "$*" >>"$CALLS"
case "$*" in
  --version) echo Python 3.11.0 ;;
  "-m venv --clear "*) rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip install "*) [[ -z ${PIP_FAILS:-} ]] || { echo no such version >&2; exit 1; } ;;
  *fetch_samples.py*) mkdir -p "$2"; touch "$2/manifest.jsonl" ;;
esac
"""


class Checkout:
    """A copy of the repository's set-up in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts/setup.sh", self.root / "scripts")
        for name in INSTALLED_FROM:
            shutil.copy(ROOT / name, self.root)
        self.calls = folder / "calls"
        self.python = folder / "python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)

    def set_up(self, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        settings = {**os.environ, "PYTHON": str(self.python), "CALLS": str(self.calls), **environment}
        command = ["bash", str(self.root / "scripts/setup.sh"), *extras]
        return subprocess.run(command, env=settings, capture_output=True, text=True)

    def did(self) -> list[str]:
        """The steps of the latest set-up that cost something."""
        steps = {"-m venv": "venv", "-m pip install": "install", "fetch_samples": "samples"}
        lines = self.calls.read_text().splitlines()
        return [step for line in lines for words, step in steps.items() if words in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_first_start_does_it_all_and_a_second_nothing(checkout: Checkout) -> None:
    first = checkout.set_up("local")
    assert first.returncode == 0, first.stderr
    assert checkout.did() == ["venv", "install", "samples"]
    assert f"{checkout.root}[local]" in checkout.calls.read_text()
    second = checkout.set_up("local")
    assert (second.returncode, second.stdout, checkout.calls.read_text()) == (0, "", "")


def test_another_extra_is_added_to_the_same_environment(checkout: Checkout) -> None:
    checkout.set_up("local")
    checkout.set_up("local", "test")
    assert checkout.did() == ["install"]
    assert "[local,test]" in checkout.calls.read_text()
    checkout.set_up("local")
    assert checkout.did() == []


@pytest.mark.parametrize("name", INSTALLED_FROM)
def test_changed_requirements_are_installed(checkout: Checkout, name: str) -> None:
    checkout.set_up("local")
    with (checkout.root / name).open("a") as file:
        file.write("# changed\n")
    checkout.set_up("local")
    assert checkout.did() == ["install"]


def test_a_set_up_that_broke_off_is_made_anew(checkout: Checkout) -> None:
    failed = checkout.set_up("local", PIP_FAILS="1")
    assert failed.returncode == 1
    assert "no such version" in failed.stderr
    assert "pip could not install" in failed.stderr
    assert checkout.set_up("local").returncode == 0
    assert checkout.did() == ["venv", "install", "samples"]


def test_a_moved_checkout_is_installed_from_where_it_is(checkout: Checkout) -> None:
    checkout.set_up("local")
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")
    checkout.set_up("local")
    assert checkout.did() == ["install"]


def test_missing_samples_are_fetched_without_an_installation(checkout: Checkout) -> None:
    checkout.set_up("local")
    (checkout.root / "samples/manifest.jsonl").unlink()
    checkout.set_up("local")
    assert checkout.did() == ["samples"]


def test_a_python_that_does_not_do_is_named(checkout: Checkout) -> None:
    done = checkout.set_up("local", PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert done.stderr == (
        "whisper-beam: PYTHON=/nowhere/python is no Python 3.11, 3.12 or 3.13 with the venv module.\n"
    )
    assert not (checkout.root / ".venv").exists()
