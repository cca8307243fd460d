"""Runs in processes that die: forked, so that what takes long to import is imported once.

python killed_runs.py FOLDER kills N SEED     kills runs over FOLDER/talks at random moments; prints JSON
python killed_runs.py FOLDER poison           runs over a recording that kills its process
python killed_runs.py FOLDER signal NAME ...  tells a run with these flags to stop, and then goes on
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
from pathlib import Path

from model.interface import Request, TranscriberSettings, WindowResult
from pipelines.backend import Backend
from pipelines.output.run_folder import LOG_FOLDER
from pipelines.transcribe import main
from tests.support.crashing_backend import DeadlyTones
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of
from transforms.checkpoint.commit_log import LogIndex, read_index

FOLDER = Path(sys.argv[1])
ASKED = FOLDER / "asked.log"
FAILURES, TRANSCRIPTS = (f"out/{name}/part-00000-of-00001.jsonl" for name in ("failures", "transcripts"))


class NotedTones(ToneTranscriber):
    """Takes its time, and notes on disk what it was asked."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        with ASKED.open("a") as file:
            file.writelines(
                hashlib.sha256(request.samples.tobytes()).hexdigest() + "\n" for request in requests
            )
        time.sleep(0.01 * len(requests))
        return super().transcribe(requests)


class DeadlyNotedTones(DeadlyTones, NotedTones):
    """Dies where others would raise an exception."""


def load_noted(settings: TranscriberSettings) -> NotedTones:
    return NotedTones(settings.batch_size)


def load_deadly(settings: TranscriberSettings) -> DeadlyNotedTones:
    return DeadlyNotedTones(settings.batch_size)


def forked(out: Path, *flags: str, deadly: bool = False) -> int:
    """The process id of a run."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    said = os.open(FOLDER / "said.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    backend = Backend(load_deadly if deadly else load_noted, languages_of, ToneDetector)
    arguments = ["--input", str(FOLDER / "talks"), "--output", str(out), "--format", "jsonl,parquet,srt"]
    os._exit(main([*arguments, "--batch_size", "2", *flags], backend))


def ended(child: int) -> int:
    """The exit code of a run, -9 when it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(n: int, seed: int) -> dict[str, object]:
    moments = random.Random(seed)
    started = time.monotonic()
    whole = ended(forked(FOLDER / "whole"))
    took = time.monotonic() - started
    windows = Counter(ASKED.read_text().splitlines())
    codes, redone, killed = [], [], 0
    for number in range(n):
        ASKED.write_text("")
        child = forked(FOLDER / f"out{number}")
        time.sleep(moments.uniform(0.2, 1.0) * took)
        os.killpg(child, signal.SIGKILL)
        killed += ended(child) == -9
        codes.append(ended(forked(FOLDER / f"out{number}")))
        asked = Counter(ASKED.read_text().splitlines())
        assert windows <= asked
        redone.append((asked - windows).total())
    return {"whole": whole, "killed": killed, "codes": codes, "redone": redone, "windows": windows.total()}


def poison() -> dict[str, object]:
    codes = [ended(forked(FOLDER / "out", deadly=True)) for _ in range(4)]
    found = [json.loads(line)["kind"] for line in (FOLDER / FAILURES).read_text().splitlines()]
    transcribed = len((FOLDER / TRANSCRIPTS).read_text().splitlines())
    retried = ended(forked(FOLDER / "out", "--retry_failed", deadly=True))
    return {"codes": codes, "failures": found, "transcribed": transcribed, "retried": retried}


def signalled(name: str, flags: Sequence[str]) -> dict[str, object]:
    """Once some recordings are under way, and some are done."""
    out = FOLDER / "out"
    child = forked(out, *flags)
    index = wait_for_work(out)
    os.kill(child, getattr(signal, name))
    code, state = ended(child), json.loads((out / "progress.json").read_text())["state"]
    said = (FOLDER / "said.log").read_text()
    after = read_index(str(out / LOG_FOLDER))
    told = {
        "code": code,
        "state": state,
        "said": said,
        "done_before": len(after),
        "success": ended(forked(out)),
    }
    return {**told, "open_before": (+index.n_open).total(), "open_after": (+after.n_open).total()}


def wait_for_work(out: Path) -> LogIndex:
    for _ in range(2_000):
        index = read_index(str(out / LOG_FOLDER))
        if (+index.n_open).total() > 1 and len(index):
            return index
        time.sleep(0.01)
    raise AssertionError("the run does not work")


if __name__ == "__main__":
    match sys.argv[2:]:
        case "kills", n, seed:
            told = kills(int(n), int(seed))
        case "signal", name, *flags:
            told = signalled(name, flags)
        case _:
            told = poison()
    print(json.dumps(told))
