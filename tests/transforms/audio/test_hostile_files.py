from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

MAX_S = 1.0
MAX_MB = 100.0
OUTCOMES = {
    "0 bytes": "not_audio",  # `fetch` refuses it before, as `empty`
    "WAV, header only": "empty",
    "FLAC, header only": "corrupt",
    "MP4, header only": "corrupt",
    "Ogg, header only": "corrupt",
    "1 sample": "decoded",
    "all NaN": "not_finite",
    "one NaN": "decoded",
    "all infinite": "not_finite",
    "one infinite": "decoded",
    "all absurd": "not_finite",
    "one absurd": "decoded",
    "HTML": "not_audio",
    "2^36 samples": "truncated",
    "2^31 samples": "truncated",
    "1 Hz": "unsupported",
    "2^32 Hz": "corrupt",
    "1,024 channels": "unsupported",
    "0 channels": "unsupported",
    "chunk of 2^32 bytes": "corrupt",
    "CAF of a million chunks": "corrupt",
    "MP4 of 100,000 boxes": "corrupt",
    "ID3 tag of 256 MB": "corrupt",
    "zeros": "not_audio",
    "MP4 of 10^8 samples": "corrupt",
    "ALAC, frames of 2^24 samples": "truncated",
    "Matroska of 10^10 s": "truncated",
    "Matroska, gap of 10^9 s": "truncated",
    "MP3 of 2^32 frames": "truncated",
    "CAF, channels in another order": "decoded",
}


@cache
def costs() -> dict[str, dict[str, Any]]:
    """Outcome and cost of each file, measured in a process of its own: peak memory cannot be reset."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.support.hostile_files"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=True)
    lines = (json.loads(line) for line in done.stdout.splitlines())
    return {line["name"]: line for line in lines}


def test_each_file_has_an_expected_outcome() -> None:
    assert costs().keys() == OUTCOMES.keys()


@pytest.mark.parametrize(("name", "outcome"), OUTCOMES.items())
def test_hostile_files_cost_little(name: str, outcome: str) -> None:
    found = costs()[name]
    assert found["outcome"] == outcome
    assert found["seconds"] < MAX_S
    assert found["mb"] < MAX_MB
