"""Runs of manifests of many parts of few files, which are decoded in one pass of each file."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from tests.integration.test_resume import in_child
from tests.support.servers import send, serving
from tests.support.tone_backend import (
    FRENCH,
    LOADED,
    expected_text,
    failures,
    rows,
    run,
    snapshot,
    tone,
    write_talk,
)
from transforms.reading.kept_file import KeptFile
from transforms.sources import line_groups

ROOT = Path(__file__).parents[2]
OTHER_FILES = ("run.json", "report.html", "progress.json", ".whisper-beam/run.json")
"""Files with times, or with the work items of the run."""
N_S, PART_S = 96, 4


def write_manifest(path: Path, lines: list[dict[str, object]], *, shuffle: bool = False) -> Path:
    if shuffle:
        random.Random(0).shuffle(lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def parts_of(uri: str, **more: object) -> list[dict[str, object]]:
    starts_s = range(0, N_S, PART_S)
    return [{"audio_filepath": uri, "offset": start_s, "duration": PART_S, **more} for start_s in starts_s]


def files(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(out).items() if name not in OTHER_FILES}


def write_call(path: Path) -> None:
    """Writes a call of two channels; the second is in another language from its middle on."""
    left = np.concatenate([tone(second) for second in range(N_S)])
    right = np.concatenate([tone(second, FRENCH if second > N_S / 2 else 0.3) for second in range(N_S)])
    soundfile.write(path, np.stack([left, right], axis=1), SAMPLE_RATE)


@pytest.mark.parametrize(
    ("flags", "shuffle"), [([], False), (["--channels", "split"], True), (["--max_span_s", "60"], True)]
)
def test_rows_are_those_of_parts_that_are_decoded_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], *, shuffle: bool
) -> None:
    write_talk(tmp_path / "talk.flac", N_S, french_from=50)
    write_call(tmp_path / "call.flac")
    (tmp_path / "bad.mp3").write_bytes(b"no audio" * 1000)
    lines = [*parts_of("talk.flac"), *parts_of("call.flac", channel=0), *parts_of("call.flac", channel=1)]
    lines += [*parts_of("call.flac"), *parts_of("bad.mp3"), {"audio_filepath": "talk.flac"}]
    lines += [{"audio_filepath": "talk.flac", "offset": 3.5, "duration": 70.25}, lines[3]]
    lines += [{"audio_filepath": "talk.flac", "offset": N_S + 5, "duration": 1}]
    manifest = write_manifest(tmp_path / "m.jsonl", lines, shuffle=shuffle)
    assert run(manifest, tmp_path / "together", *flags) == 2
    monkeypatch.setattr(line_groups, "MAX_LINES", 1)
    monkeypatch.setattr(KeptFile, "accepts", lambda _: False)
    assert run(manifest, tmp_path / "apart", *flags) == 2
    assert files(tmp_path / "together") == files(tmp_path / "apart")
    monkeypatch.undo()
    LOADED.clear()
    (tmp_path / "apart/_SUCCESS").unlink()
    assert run(manifest, tmp_path / "apart", *flags) == 2
    assert LOADED == []  # the log of a run without groups is that of one with groups
    assert files(tmp_path / "together") == files(tmp_path / "apart")
    # Each part of the file that is no audio fails, and the part behind the end of the talk.
    assert len(failures(tmp_path / "together")) == N_S // PART_S + 1
    texts = {Path(row["uri"]).name: row["text"] for row in rows(tmp_path / "together")}
    assert texts["talk.flac#t=20,24"] == "en20 en21 en22 en23"


def test_the_parts_of_a_url_are_one_download(tmp_path: Path, out: Path) -> None:
    content = write_talk(tmp_path / "talk.flac", N_S).read_bytes()
    with serving(lambda handler: send(handler, 200, content)) as server:
        lines = [line for name in "ab" for line in parts_of(f"{server.url}/{name}.flac")]
        manifest = write_manifest(tmp_path / "m.jsonl", lines, shuffle=True)
        assert run(manifest, out, "--allow_private_hosts") == 0
        assert sorted(request.path for request in server.requests) == ["/a.flac", "/b.flac"]
    assert len(rows(out)) == 2 * N_S // PART_S
    assert {row["text"] in expected_text("en", N_S) for row in rows(out)} == {True}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_run_that_is_killed_within_a_group_repeats_only_what_was_not_committed(tmp_path: Path) -> None:
    write_talk(tmp_path / "talk.flac", N_S)
    write_manifest(tmp_path / "talks.jsonl", parts_of("talk.flac"))
    summary = in_child(tmp_path, "kills", "6", "1")
    assert (summary["whole"], summary["codes"]) == (0, [0] * 6)
    assert summary["killed"] >= 3
    assert summary["windows"] == N_S // PART_S
    assert max(summary["redone"]) <= 12
    whole = files(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == N_S // PART_S
    for number in range(6):
        assert files(tmp_path / f"out{number}") == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_part_that_crashes_its_process_is_given_up_and_no_other_of_its_file(tmp_path: Path) -> None:
    write_talk(tmp_path / "talk.flac", N_S, poison=42)
    write_manifest(tmp_path / "talks.jsonl", parts_of("talk.flac"))
    summary = in_child(tmp_path, "poison")
    failed = {"failures": ["quarantined"], "transcribed": N_S // PART_S - 1}
    assert summary == {"codes": [-9, -9, -9, 2], **failed, "retried": -9}
