"""Many recordings, a hundredth of them broken."""

from __future__ import annotations

import json
import os
from pathlib import Path

import soundfile

from model.interface import SAMPLE_RATE
from tests.support.tone_backend import failures, rows, run, tone

N = int(os.environ.get("MANY_RECORDINGS", "1000"))  # docs/reliability.md has the figures of 10,000
BROKEN = (b"", b"RIFF", b"<html>not found</html>", b"\xff\xfb" * 50, bytes(1000))


def test_exactly_the_broken_recordings_fail(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    soundfile.write(tmp_path / "good.wav", tone(3), SAMPLE_RATE)
    good = (tmp_path / "good.wav").read_bytes()
    broken = set()
    for number in range(N):
        path = folder / f"{number}.mp3"
        if number % 100 == 7:
            broken.add(str(path))
            path.write_bytes(BROKEN[number // 100 % len(BROKEN)])
        else:
            path.write_bytes(good)
    out = tmp_path / "out"
    assert run(folder, out, "--format", "jsonl") == 2
    assert {row["uri"] for row in failures(out)} == broken
    assert len(failures(out)) == len(broken)
    done = rows(out)
    assert {row["uri"] for row in done} == {str(path) for path in folder.iterdir()} - broken
    assert {row["text"] for row in done} == {"en3"}
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["transcribed"], counts["failures"]) == (
        N, N - len(broken), len(broken),
    )  # fmt: skip
