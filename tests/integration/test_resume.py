"""Interrupted runs are resumed: no row is lost or duplicated, and little work is done twice."""

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

from pipelines.output.run_files import LOG_FOLDER
from tests.support.tone_backend import (
    LOADED,
    REQUESTS,
    expected_text,
    failures,
    rows,
    run,
    snapshot,
    write_talk,
)
from transforms.checkpoint import commit_log
from transforms.checkpoint.commit_log import LogWriter, read_index

ROOT = Path(__file__).parents[2]
TIMED_FILES = ("run.json", "report.html", "progress.json")
THREADS = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for number in range(5):
        write_talk(tmp_path / f"talks/{number}.wav", 20 + 9 * number)
    return tmp_path / "talks"


def files(out: Path) -> dict[str, bytes]:
    """Returns the files that a run wrote, without those that contain times of the run."""
    return {name: content for name, content in snapshot(out).items() if name not in TIMED_FILES}


def counts(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "run.json").read_text())["counts"]
    return summary


def in_child(folder: Path, *arguments: str) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_runs", str(folder), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
    )
    summary: dict[str, Any] = json.loads(child.stdout)
    return summary


def test_unfinished_run_resumes_without_the_model_if_all_is_done(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    whole, summary = files(out), counts(out)
    (out / "_SUCCESS").unlink()
    (out / "jsonl/part-00000-of-00001.jsonl").write_bytes(b"half")
    LOADED.clear()
    assert run(talks, out) == 0
    assert LOADED == []
    assert files(out) == whole
    assert counts(out) == {**summary, "done_before": 5, "earlier_files_damaged": 1}


def test_only_new_and_changed_recordings_are_done(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    write_talk(talks / "new.wav", 3)
    write_talk(talks / "1.wav", 4)
    (talks / "2.wav").unlink()
    REQUESTS.clear()
    assert run(talks, out) == 0
    assert sorted(len(request.samples) // 16_000 for request in REQUESTS) == [3, 4]
    assert {Path(row["uri"]).name: row["text"] for row in rows(out)} == {
        "0.wav": expected_text("en", 20), "1.wav": expected_text("en", 4), "2.wav": expected_text("en", 38),
        "3.wav": expected_text("en", 47), "4.wav": expected_text("en", 56), "new.wav": expected_text("en", 3),
    }  # fmt: skip
    assert (counts(out)["recordings"], counts(out)["done_before"]) == (5, 3)


def test_finished_run_detects_a_changed_file_of_the_same_size(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    write_talk(talks / "1.wav", 29, french_from=0)
    REQUESTS.clear()
    assert run(talks, out) == 0
    assert [len(request.samples) // 16_000 for request in REQUESTS] == [29]
    assert rows(out)[1]["text"] == expected_text("fr", 29)


def test_corrected_reference_is_in_the_row_without_the_model(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    manifest = tmp_path / "m.jsonl"
    for text in ("wrong", "right"):
        LOADED.clear()
        manifest.write_text(json.dumps({"path": "a.wav", "text": text}))
        assert run(manifest, out) == 0
    assert LOADED == []
    assert [row["reference"] for row in rows(out)] == ["right"]


def test_speed_counts_new_audio_only_once(tmp_path: Path, out: Path) -> None:
    for number, seconds in enumerate((9, 2)):
        write_talk(tmp_path / f"{number}.wav", seconds)
    lines = [{"path": "0.wav", "prompt": prompt} for prompt in ("One", "Two")]
    manifest = tmp_path / "m.jsonl"
    for listed in (lines, [*lines, {"path": "1.wav"}]):
        manifest.write_text("".join(json.dumps(line) + "\n" for line in listed))
        assert run(manifest, out) == 0
    summary = json.loads((out / "run.json").read_text())
    assert summary["counts"]["done_before"] == summary["counts"]["recordings"] == 2
    assert summary["times_real_time"] * summary["wall_s"] == pytest.approx(2, rel=0.02)


def test_retry_failed_retries_failures(talks: Path, out: Path) -> None:
    (talks / "bad.wav").write_bytes(b"RIFF")
    write_talk(talks / "poisoned.wav", 3, poison=1)
    assert run(talks, out) == 2
    LOADED.clear()
    REQUESTS.clear()
    assert run(talks, out) == 2
    assert run(talks, out, "--retry_failed") == 2
    assert {len(request.samples) // 16_000 for request in REQUESTS} == {3, 1}  # and a second of silence
    assert sorted(failure["kind"] for failure in failures(out)) == ["corrupt", "model_error"]
    assert len(rows(out)) == 5
    write_talk(talks / "poisoned.wav", 3)
    write_talk(talks / "bad.wav", 2)
    assert run(talks, out) == 0
    assert (len(rows(out)), failures(out)) == (7, [])


def test_overwrite_transcribes_everything_again(talks: Path, out: Path) -> None:
    assert run(talks, out) == 0
    REQUESTS.clear()
    assert run(talks, out, "--overwrite") == 0
    assert len(REQUESTS) == counts(out)["windows"]
    assert counts(out)["done_before"] == 0


@pytest.mark.parametrize("flags", [["--windows", "grid"], ["--channels", "split"]])
def test_second_passes_and_channels_are_resumed(tmp_path: Path, out: Path, flags: list[str]) -> None:
    write_talk(tmp_path / "talks/mixed.wav", 80, french_from=70)
    assert run(tmp_path / "talks", out, *flags) == 0
    whole, summary = files(out), counts(out)
    (out / "_SUCCESS").unlink()
    LOADED.clear()
    assert run(tmp_path / "talks", out, *flags) == 0
    assert LOADED == []
    assert files(out) == whole
    assert counts(out) == {**summary, "done_before": 1}


def test_repeated_bundles_do_not_duplicate_rows(talks: Path, tmp_path: Path) -> None:
    assert run(talks, tmp_path / "once") == 0
    assert run(talks, tmp_path / "twice", "--direct_runner_bundle_repeat=1") == 0
    assert files(tmp_path / "once") == files(tmp_path / "twice")


@pytest.mark.parametrize("workers", [[], THREADS])
def test_run_ended_by_a_full_disk_is_resumed(
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
    assert not +read_index(str(out / LOG_FOLDER)).n_crashed
    assert "No space left on device" in capsys.readouterr().err
    assert not (out / "_SUCCESS").exists()
    assert run(talks, out, "--batch_size", "1") == 0
    assert 1 <= counts(out)["done_before"] < 5
    assert [row["text"] for row in rows(out)] == [expected_text("en", 20 + 9 * n) for n in range(5)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_run_killed_at_any_time_is_resumed(tmp_path: Path) -> None:
    for number in range(40):
        write_talk(tmp_path / f"talks/{number}.wav", 1 + number % 7)
    summary = in_child(tmp_path, "kills", "20", "1")
    assert summary["whole"] == 0
    assert summary["killed"] >= 10  # the others had finished before
    assert summary["codes"] == [0] * 20
    # Two concurrent calls and the batches queued for them, of two windows each, and uncommitted results.
    assert max(summary["redone"]) <= 12 < summary["windows"]
    whole = files(tmp_path / "whole")
    for number in range(20):
        assert files(tmp_path / f"out{number}") == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_recording_that_crashes_its_process_is_given_up(tmp_path: Path) -> None:
    for number in range(12):
        write_talk(tmp_path / f"talks/{number}.wav", 2, poison=1 if number == 5 else None)
    summary = in_child(tmp_path, "poison")
    failed, retried = {"failures": ["quarantined"], "transcribed": 11}, {"retried": -9}
    assert summary == {"codes": [-9, -9, -9, 2], **failed, **retried}


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
def test_stopped_run_does_not_count_as_a_crash_of_its_recordings(
    name: str, code: int, flags: list[str], tmp_path: Path
) -> None:
    for number in range(60):
        write_talk(tmp_path / f"talks/{number}.wav", 2)
    summary = in_child(tmp_path, "signal", name, *flags)
    assert summary["open_before"] > 1
    assert summary["open_after"] == 0
    assert 0 < summary["done_before"] < 60
    assert (summary["code"], summary["state"], summary["success"]) == (code, "interrupted", 0)
    assert summary["output"].endswith("To resume it, give the same command again.\n")
    assert flags or "Traceback" not in summary["output"]  # Beam's threads print their own
    assert counts(tmp_path / "out")["transcribed"] == 60
