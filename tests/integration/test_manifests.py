"""Runs of manifests whose lines name channels, or have values that are not understood."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from tests.support.tone_backend import (
    ENGLISH,
    FRENCH,
    LANGUAGES_REQUESTED,
    expected_text,
    failures,
    rows,
    run,
    tone,
    write_talk,
)


def write_call(path: Path, seconds: int, french_from: int) -> Path:
    """Writes a call of two channels, of which the second continues in another language."""
    left = np.concatenate([tone(second) for second in range(seconds)])
    right = [tone(second, FRENCH if second >= french_from else ENGLISH) for second in range(seconds)]
    soundfile.write(path, np.stack([left, np.concatenate(right)], axis=1), SAMPLE_RATE)
    return path


def write_lines(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize("channels", ["mix", "split", "left"])
def test_each_line_of_a_channel_is_a_row(tmp_path: Path, out: Path, channels: str) -> None:
    call = write_call(tmp_path / "call.wav", 80, french_from=70)
    lines = [{"audio": "call.wav", "channel": n, "speaker": "AB"[n], "text": f"said {n}"} for n in (0, 1)]
    manifest = write_lines(tmp_path / "m.jsonl", *lines)
    assert run(manifest, out, "--channels", channels, "--windows", "grid") == 0
    found = rows(out)
    assert [(row["uri"], row["channel"], row["reference"]) for row in found] == [
        (str(call), 0, "said 0"), (str(call), 1, "said 1"),
    ]  # fmt: skip
    assert [json.loads(row["metadata"]) for row in found] == [{"speaker": "A"}, {"speaker": "B"}]
    assert [row["text"] for row in found] == [expected_text("en", 80)] * 2
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["transcribed"]) == (2, 2)
    assert counts["windows_redone"] > 0  # of the second channel, each line opened again as it is
    assert LANGUAGES_REQUESTED.count("en") == counts["windows_redone"]


def test_channel_that_the_file_does_not_have_is_a_failure_of_its_line(tmp_path: Path, out: Path) -> None:
    write_call(tmp_path / "call.wav", 2, french_from=2)
    lines = [{"audio": "call.wav", "channel": n} for n in (0, 2)]
    assert run(write_lines(tmp_path / "m.jsonl", *lines), out) == 2
    (row,), (failure,) = rows(out), failures(out)
    assert (row["channel"], row["text"]) == (0, expected_text("en", 2))
    assert (failure["kind"], failure["uri"]) == ("no_such_channel", str(tmp_path / "call.wav"))


def test_channel_of_a_mono_file_is_its_only_one(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mono.wav", 2)
    assert run(write_lines(tmp_path / "m.jsonl", {"audio": "mono.wav", "channel": 1}), out) == 0
    (row,) = rows(out)
    assert (row["channel"], row["text"]) == (1, expected_text("en", 2))
    assert row["problem"] == "the file has a single channel for 2.00 s, which was taken for the one named"


def test_line_with_values_that_are_not_understood_is_transcribed(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    line = {"audio": "a.wav", "language": "Klingon", "start": "2021-05-03", "channel": "BBC"}
    assert run(write_lines(tmp_path / "m.jsonl", line), out) == 0
    (row,) = rows(out)
    assert (row["language"], row["text"], row["channel"]) == ("en", expected_text("en", 2), None)
    remarks = json.loads(row["metadata"])["remarks"]
    assert [remark.partition(" is ")[0] for remark in remarks] == ["start", "channel", "language"]
