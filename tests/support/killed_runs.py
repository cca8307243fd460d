"""Runs in processes that die; the processes are forked, so that slow imports happen once.

python killed_runs.py FOLDER kills N SEED     kills runs over FOLDER/talks after some windows; prints JSON
                                              (or over the manifest FOLDER/talks.jsonl, if there is one)
python killed_runs.py FOLDER poison           runs over a recording that crashes its process
python killed_runs.py FOLDER signal NAME ...  stops a run with these flags by a signal, then resumes it
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from pipelines.output.run_files import LOG_FOLDER
from pipelines.transcribe import main
from tests.support.crashing_backend import CrashingToneTranscriber
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of
from transforms.checkpoint.commit_log import LogIndex, read_index
from transforms.core.cancellation import STOP
from transforms.recognition.loaded_model import LoadTranscriber

FOLDER = Path(sys.argv[1])
REQUEST_LOG = FOLDER / "requests.log"
FAILURES, TRANSCRIPTS = (f"out/{name}/part-00000-of-00001.jsonl" for name in ("failures", "jsonl"))


class LoggingToneTranscriber(ToneTranscriber):
    """Slow transcriber that logs its requests to disk."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        with REQUEST_LOG.open("a") as file:
            file.writelines(
                hashlib.sha256(request.samples.tobytes()).hexdigest() + "\n" for request in requests
            )
        time.sleep(0.01 * len(requests))
        return super().transcribe(requests)


class HeldToneTranscriber(LoggingToneTranscriber):
    """Transcribes some windows; the calls after them wait until the run is to stop."""

    n_left = 20

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.n_left -= len(requests)
        if self.n_left < 0:
            assert STOP.wait(60)
        return super().transcribe(requests)


class CrashingLoggingToneTranscriber(CrashingToneTranscriber, LoggingToneTranscriber):
    """Crashes instead of raising an exception, and logs its requests."""


def load_logging(options: ModelOptions) -> LoggingToneTranscriber:
    return LoggingToneTranscriber(options.batch_size)


def load_held(options: ModelOptions) -> HeldToneTranscriber:
    return HeldToneTranscriber(options.batch_size)


def load_crashing(options: ModelOptions) -> CrashingLoggingToneTranscriber:
    return CrashingLoggingToneTranscriber(options.batch_size)


def forked(out: Path, *flags: str, load: LoadTranscriber = load_logging) -> int:
    """Starts a run in a forked process; returns the process id."""
    child = os.fork()
    if child:
        with suppress(OSError):  # it may have done so, or ended
            os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    output = os.open(FOLDER / "output.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    backend = Backend(load, languages_of, ToneDetector)
    talks = next(path for path in (FOLDER / "talks.jsonl", FOLDER / "talks") if path.exists())
    arguments = ["--input", str(talks), "--output", str(out), "--format", "jsonl,parquet,srt"]
    os._exit(main([*arguments, "--batch_size", "2", *flags], backend))


def ended(child: int) -> int:
    """Waits for a run; returns its exit code, -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(n: int, seed: int) -> dict[str, object]:
    moments = random.Random(seed)
    whole = ended(forked(FOLDER / "whole"))
    windows = Counter(REQUEST_LOG.read_text().splitlines())
    codes, redone, killed = [], [], 0
    for number in range(n):
        REQUEST_LOG.write_text("")
        child = forked(FOLDER / f"out{number}")
        wait_for_windows(moments.randrange(windows.total()), child)
        os.killpg(child, signal.SIGKILL)
        killed += ended(child) == -9
        codes.append(ended(forked(FOLDER / f"out{number}")))
        requests = Counter(REQUEST_LOG.read_text().splitlines())
        assert windows <= requests
        redone.append((requests - windows).total())
    return {"whole": whole, "killed": killed, "codes": codes, "redone": redone, "windows": windows.total()}


def wait_for_windows(n: int, child: int) -> None:
    """Waits until a run has requested `n` windows, or has ended; leaves its exit code."""
    while len(REQUEST_LOG.read_text().splitlines()) < n:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.01)


def poison() -> dict[str, object]:
    codes = [ended(forked(FOLDER / "out", load=load_crashing)) for _ in range(4)]
    found = [json.loads(line)["kind"] for line in (FOLDER / FAILURES).read_text().splitlines()]
    transcribed = len((FOLDER / TRANSCRIPTS).read_text().splitlines())
    retried = ended(forked(FOLDER / "out", "--retry_failed", load=load_crashing))
    return {"codes": codes, "failures": found, "transcribed": transcribed, "retried": retried}


def signalled(name: str, flags: Sequence[str]) -> dict[str, object]:
    """Sends a signal to a run once some recordings are in progress and some are done."""
    out = FOLDER / "out"
    child = forked(out, *flags, load=load_held)
    index = wait_for_work(out)
    os.kill(child, getattr(signal, name))
    code, state = ended(child), json.loads((out / "progress.json").read_text())["state"]
    output = (FOLDER / "output.log").read_text()
    after = read_index(str(out / LOG_FOLDER))
    outcome = {
        "code": code,
        "state": state,
        "output": output,
        "done_before": len(after),
        "success": ended(forked(out)),
    }
    return {**outcome, "open_before": (+index.n_crashed).total(), "open_after": (+after.n_crashed).total()}


def wait_for_work(out: Path) -> LogIndex:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        index = read_index(str(out / LOG_FOLDER))
        if (+index.n_crashed).total() > 1 and len(index):
            return index
        time.sleep(0.01)
    raise AssertionError("the run makes no progress")


if __name__ == "__main__":
    match sys.argv[2:]:
        case "kills", n, seed:
            outcome = kills(int(n), int(seed))
        case "signal", name, *flags:
            outcome = signalled(name, flags)
        case _:
            outcome = poison()
    print(json.dumps(outcome))
