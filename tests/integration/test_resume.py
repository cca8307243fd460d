"""A run that was broken off goes on: nothing is lost, nothing is doubled, little is done twice."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pipelines.output.run_folder import LOG_FOLDER
from tests.support.tone_backend import ASKED, LOADED, failures, rows, run, snapshot, spoken, write_talk
from transforms.checkpoint import commit_log
from transforms.checkpoint.commit_log import LogWriter, read_index

ROOT = Path(__file__).parents[2]
TOLD_TIMES = ("run.json", "report.html", "progress.json")
THREADS = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]


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
        [sys.executable, "-m", "tests.support.killed_runs", str(folder), *arguments],
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


def test_a_finished_run_sees_a_file_that_changed_and_not_its_size(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    write_talk(talks / "1.wav", 29, french_from=0)
    ASKED.clear()
    assert run(talks, out) == 0
    assert [len(request.samples) // 16_000 for request in ASKED] == [29]
    assert rows(out)[1]["text"] == spoken("fr", 29)


def test_a_reference_that_was_corrected_is_in_the_row_without_the_model(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    manifest = tmp_path / "m.jsonl"
    for text in ("wrong", "right"):
        LOADED.clear()
        manifest.write_text(json.dumps({"path": "a.wav", "text": text}))
        assert run(manifest, out) == 0
    assert LOADED == []
    assert [row["reference"] for row in rows(out)] == ["right"]


def test_the_speed_is_that_of_what_is_new_also_where_a_recording_is_listed_twice(
    tmp_path: Path, out: Path
) -> None:
    for number, seconds in enumerate((9, 2)):
        write_talk(tmp_path / f"{number}.wav", seconds)
    lines = [{"path": "0.wav", "prompt": prompt} for prompt in ("One", "Two")]
    manifest = tmp_path / "m.jsonl"
    for listed in (lines, [*lines, {"path": "1.wav"}]):
        manifest.write_text("".join(json.dumps(line) + "\n" for line in listed))
        assert run(manifest, out) == 0
    told = json.loads((out / "run.json").read_text())
    assert told["counts"]["done_before"] == told["counts"]["recordings"] == 2
    assert told["times_real_time"] * told["wall_s"] == pytest.approx(2, rel=0.02)


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


@pytest.mark.parametrize("workers", [[], THREADS])
def test_a_disk_that_is_full_ends_the_run_and_the_next_goes_on(
    workers: list[str],
    talks: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    committed, commit = 0, LogWriter.commit

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    def until_full(writer: LogWriter, results: Iterable[tuple[str, dict[str, Any]]]) -> None:
        nonlocal committed
        results = list(results)
        if results and committed == 2:
            patched.setattr(LogWriter, "_new_file", full)
            patched.setattr(commit_log.os, "fsync", full)
        committed += bool(results)
        commit(writer, results)

    with monkeypatch.context() as patched:
        patched.setattr(LogWriter, "commit", until_full)
        assert run(talks, out, "--batch_size", "1", *workers) == 1
    assert not +read_index(str(out / LOG_FOLDER)).n_open
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("name", "code", "flags"),
    [
        ("SIGINT", 130, []),
        ("SIGTERM", 143, []),
        ("SIGTERM", 143, THREADS),
        ("SIGHUP", 129, []),
    ],
)
def test_a_run_that_is_told_to_stop_holds_nothing_against_its_recordings(
    name: str, code: int, flags: list[str], tmp_path: Path
) -> None:
    for number in range(60):
        write_talk(tmp_path / f"talks/{number}.wav", 2)
    told = in_child(tmp_path, "signal", name, *flags)
    assert told["open_before"] > 1
    assert told["open_after"] == 0
    assert 0 < told["done_before"] < 60
    assert (told["code"], told["state"], told["success"]) == (code, "interrupted", 0)
    assert told["said"].endswith("To go on, give the same command again.\n")
    assert flags or "Traceback" not in told["said"]  # which Beam's threads print by themselves
    assert counts(tmp_path / "out")["transcribed"] == 60
