"""Workers end with their run; where one dies, it ends with a clear message, and the next run resumes."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from apache_beam.runners.portability.fn_api_runner.worker_handlers import ControlConnection

from model.interface import Request, WindowResult
from pipelines.backend import Backend
from pipelines.transcribe import main
from tests.support.crashing_backend import CRASHING
from tests.support.raw_http import wait_until
from tests.support.tone_backend import (
    ToneDetector,
    ToneTranscriber,
    expected_text,
    failures,
    languages_of,
    rows,
    snapshot,
    write_talk,
)

WORKER_THREADS = {"run_worker", "beam_control_read", "forward_grpc_outputs", "end-worker"}
ROOT = Path(__file__).parents[3]
THREADS = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")
PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture(autouse=True)
def _workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class OutOfMemory(ToneTranscriber):
    """Has no memory for any batch."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        raise MemoryError("out of memory")


def run(folder: Path, out: Path, *flags: str) -> int:
    arguments = ["--input", str(folder), "--output", str(out), "--format", "jsonl", *flags]
    return main(arguments, CRASHING)


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no SIGKILL")
def test_recording_that_crashes_its_worker_is_given_up_without_effect_on_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        write_talk(tmp_path / f"talks/{number}.wav", 2, poison=1 if number == 3 else None)
    codes, outputs = [], []
    for _ in range(4):
        codes.append(run(tmp_path / "talks", tmp_path / "out", *PROCESSES))
        outputs.append(capfd.readouterr().err)
        assert "run_worker" not in {thread.name for thread in threading.enumerate()}
    assert codes == [1, 1, 1, 2]
    for output in outputs[:3]:
        assert "The run failed: a worker process was killed, possibly because memory ran out; " in output
        assert "Give the same command again" in output
        assert "Traceback" not in output
    (failed,) = failures(tmp_path / "out")
    assert (failed["kind"], failed["attempts"]) == ("quarantined", 3)
    assert failed["uri"] == str(tmp_path / "talks/3.wav")
    assert {row["text"] for row in rows(tmp_path / "out")} == {expected_text("en", 2)}
    (tmp_path / "talks/3.wav").unlink()
    assert run(tmp_path / "talks", tmp_path / "without") == 0
    transcripts = "jsonl/part-00000-of-00001.jsonl"
    assert snapshot(tmp_path / "out")[transcripts] == snapshot(tmp_path / "without")[transcripts]


def test_run_does_not_wait_for_a_worker_that_died_before_it_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "false")
    assert run(tmp_path / "talks", tmp_path / "out", *PROCESSES) == 1
    assert "The run failed: a worker process ended with exit code 1; " in capfd.readouterr().err


@pytest.mark.parametrize("workers", [THREADS, PROCESSES])
def test_interrupt_while_workers_end_leaves_no_thread_of_theirs(
    workers: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/integration/test_broken_runs.py` interrupts and breaks runs at other places."""
    write_talk(tmp_path / "talks/a.wav", 2)
    close = ControlConnection.close

    def interrupted(connection: ControlConnection) -> None:
        monkeypatch.setattr(ControlConnection, "close", close)
        signal.raise_signal(signal.SIGINT)
        close(connection)

    monkeypatch.setattr(ControlConnection, "close", interrupted)
    assert run(tmp_path / "talks", tmp_path / "out", *workers) == 130
    wait_until(lambda: not WORKER_THREADS & {thread.name for thread in threading.enumerate()})


def test_workers_in_threads_leave_no_thread_that_sends_elements(tmp_path: Path) -> None:
    def periodic() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if type(one).__name__ == "PeriodicThread"}

    for number in range(4):
        write_talk(tmp_path / f"talks/{number}.wav", 2)
    before = periodic()
    backend = Backend(lambda _: OutOfMemory(1), languages_of, ToneDetector)
    arguments = ["--input", str(tmp_path / "talks"), "--output", str(tmp_path / "out"), *THREADS]
    assert main(arguments, backend) == 1
    assert periodic() <= before
