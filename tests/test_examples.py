"""Runs the examples (`>>>`) in docstrings; the central records must have one each."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from transforms.core.types import Window

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("model", "transforms", "pipelines")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)
CENTRAL_RECORDS = {
    "transforms.core.audio_source": {"AudioSource"},
    "transforms.core.types": {"Window", "WindowTranscript", "Transcript", "Failure"},
    "transforms.recognition.window_decode": {"WindowDecode"},
}
EXAMPLE_WINDOW = Window("5f1d", 0, ((0, 16_000),), np.zeros(16_000, np.float32), n_unshared=16_000)
"""The variable `window` of examples that begin with a window."""


def examples(module: ModuleType) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder().find(module, extraglobs={"window": EXAMPLE_WINDOW})
    return [example for example in found if example.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_the_output_shown(name: str) -> None:
    tests = examples(importlib.import_module(name))
    assert tests
    for test in tests:
        output: list[str] = []
        doctest.DocTestRunner().run(test, out=output.append)
        assert not output, "".join(output)


@pytest.mark.parametrize(("name", "records"), CENTRAL_RECORDS.items())
def test_central_records_have_an_example(name: str, records: set[str]) -> None:
    module = importlib.import_module(name)
    assert records <= {test.name.removeprefix(f"{name}.") for test in examples(module)}
