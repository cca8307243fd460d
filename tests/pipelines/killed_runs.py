"""Runs in processes that die: forked, so that what takes long to import is imported once.

python killed_runs.py FOLDER kills N SEED     kills runs over FOLDER/talks at random moments; prints JSON
python killed_runs.py FOLDER poison           runs over a recording that kills its process
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
from pipelines.transcribe import main
from tests.pipelines.deadly import DeadlyTones
from tests.pipelines.tones import ToneDetector, ToneTranscriber, languages_of

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
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
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


if __name__ == "__main__":
    print(json.dumps(kills(int(sys.argv[3]), int(sys.argv[4])) if sys.argv[2] == "kills" else poison()))
