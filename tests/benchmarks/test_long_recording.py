from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.long_recording import EndlessWav, read_all
from benchmarks.support.processes import run_measured


def taken(minutes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.long_recording", "--no-vad", "--minutes", str(minutes)]
    content: dict[str, Any] = json.loads(run_measured(command).stdout)
    assert content["minutes"] == minutes
    return content


def test_memory_does_not_depend_on_the_length() -> None:
    short, long = taken(20), taken(120)
    assert long["windows"] == 6 * short["windows"]
    assert long["peak_mb"] < short["peak_mb"] + 50


def test_recording_has_the_declared_length() -> None:
    assert read_all(1, 2, None)[0] == 1.0
    assert len(EndlessWav(2).read(1000)) == 44
