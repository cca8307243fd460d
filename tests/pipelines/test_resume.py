"""A run that was broken off goes on: nothing is lost, nothing is doubled, little is done twice."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.tones import ASKED, LOADED, failures, rows, run, snapshot, spoken, write_talk
from transforms import commit_log

ROOT = Path(__file__).parents[2]
TOLD_TIMES = ("run.json", "report.html", "progress.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for number in range(5):
        write_talk(tmp_path / f"talks/{number}.wav", 20 + 9 * number)
    return tmp_path / "talks"


def files(out: Path) -> dict[str, bytes]:
    """What a run wrote, without what tells how long it took."""
    return {name: content for name, content in snapshot(out).items() if name not in TOLD_TIMES}


def counts(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "run.json").read_text())["counts"]
    return told


def in_child(folder: Path, *arguments: str) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.killed_runs", str(folder), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    told: dict[str, Any] = json.loads(child.stdout)
    return told


def test_an_unfinished_run_goes_on_without_the_model_where_all_is_done(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    whole, told = files(out), counts(out)
    (out / "_SUCCESS").unlink()
    (out / "transcripts/part-00000-of-00001.jsonl").write_bytes(b"half")
    LOADED.clear()
    assert run(talks, out) == 0
    assert LOADED == []
    assert files(out) == whole
    assert counts(out) == {**told, "done_before": 5}


def test_new_and_changed_recordings_alone_are_done_and_those_that_went_are_gone(
    talks: Path, out: Path
) -> None:
    assert run(talks, out) == 0
    write_talk(talks / "new.wav", 3)
    write_talk(talks / "1.wav", 4)
    (talks / "2.wav").unlink()
    ASKED.clear()
    assert run(talks, out) == 0
    assert sorted(len(request.samples) // 16_000 for request in ASKED) == [3, 4]
    assert {Path(row["uri"]).name: row["text"] for row in rows(out)} == {
        "0.wav": spoken("en", 20), "1.wav": spoken("en", 4), "3.wav": spoken("en", 47),
        "4.wav": spoken("en", 56), "new.wav": spoken("en", 3),
    }  # fmt: skip
    assert (counts(out)["recordings"], counts(out)["done_before"]) == (5, 3)


def test_a_reference_that_was_corrected_is_in_the_row_without_the_model(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    manifest = tmp_path / "m.jsonl"
    for text in ("wrong", "right"):
        LOADED.clear()
        manifest.write_text(json.dumps({"path": "a.wav", "text": text}))
        assert run(manifest, out) == 0
    assert LOADED == []
    assert [row["reference"] for row in rows(out)] == ["right"]


def test_failures_are_done_again_when_that_is_asked_for(talks: Path, out: Path) -> None:
    (talks / "bad.wav").write_bytes(b"RIFF")
    write_talk(talks / "poisoned.wav", 3, poison=1)
    assert run(talks, out) == 2
    LOADED.clear()
    ASKED.clear()
    assert run(talks, out) == 2
    assert run(talks, out, "--retry_failed") == 2
    assert {len(request.samples) // 16_000 for request in ASKED} == {3, 1}  # and a second of silence
    assert sorted(failure["kind"] for failure in failures(out)) == ["corrupt", "model_error"]
    assert len(rows(out)) == 5
    write_talk(talks / "poisoned.wav", 3)
    write_talk(talks / "bad.wav", 2)
    assert run(talks, out) == 0
    assert (len(rows(out)), failures(out)) == (7, [])


def test_overwrite_does_all_again(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    ASKED.clear()
    assert run(talks, out, "--overwrite") == 0
    assert len(ASKED) == counts(out)["windows"]
    assert counts(out)["done_before"] == 0


@pytest.mark.parametrize("flags", [["--windows", "grid"], ["--channels", "split"]])
def test_second_looks_and_channels_are_resumed_too(tmp_path: Path, out: Path, flags: list[str]) -> None:
    write_talk(tmp_path / "talks/mixed.wav", 80, french_from=70)
    assert run(tmp_path / "talks", out, *flags) == 0
    whole, told = files(out), counts(out)
    (out / "_SUCCESS").unlink()
    LOADED.clear()
    assert run(tmp_path / "talks", out, *flags) == 0
    assert LOADED == []
    assert files(out) == whole
    assert counts(out) == {**told, "done_before": 1}


def test_bundles_that_run_twice_double_nothing(talks: Path, tmp_path: Path) -> None:
    assert run(talks, tmp_path / "once") == 0
    assert run(talks, tmp_path / "twice", "--direct_runner_bundle_repeat=1") == 0
    assert files(tmp_path / "once") == files(tmp_path / "twice")


def test_a_disk_that_is_full_ends_the_run_and_the_next_goes_on(
    talks: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synced, fsync = 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced > 3:  # the folder, and two commits
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(commit_log.os, "fsync", full)
        assert run(talks, out, "--batch_size", "1") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (out / "_SUCCESS").exists()
    assert run(talks, out, "--batch_size", "1") == 0
    assert 1 <= counts(out)["done_before"] < 5
    assert [row["text"] for row in rows(out)] == [spoken("en", 20 + 9 * n) for n in range(5)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        write_talk(tmp_path / f"talks/{number}.wav", 1 + number % 7)
    told = in_child(tmp_path, "kills", "20", "1")
    assert told["whole"] == 0
    assert told["killed"] >= 10  # the others were over before
    assert told["codes"] == [0] * 20
    # Two lanes and what is ready for them, of two windows each, and what was done and not yet committed.
    assert max(told["redone"]) <= 12 < told["windows"]
    whole = files(tmp_path / "whole")
    for number in range(20):
        assert files(tmp_path / f"out{number}") == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_recording_that_kills_its_process_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    for number in range(12):
        write_talk(tmp_path / f"talks/{number}.wav", 2, poison=1 if number == 5 else None)
    told = in_child(tmp_path, "poison")
    failed, retried = {"failures": ["quarantined"], "transcribed": 11}, {"retried": -9}
    assert told == {"codes": [-9, -9, -9, 2], **failed, **retried}
