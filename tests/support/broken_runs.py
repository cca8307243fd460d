"""Runs that fail or are interrupted, each in a forked process that must end by itself.

python -m tests.support.broken_runs FOLDER WORKERS PROGRAM FAILURE...

WORKERS is a key of `WORKERS`, PROGRAM `run` for the command or `transform` for a pipeline of a user, and each
FAILURE a key of `FAILURES`. Prints a JSON object: for each failure the exit code of the process (None if it
did not end), and the names of the threads that it had left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    ControlConnection,
    GrpcServer,
    WorkerHandlerManager,
)
from apache_beam.runners.worker.sdk_worker import BundleProcessorCache

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from pipelines.beam_transform import Transcribe
from pipelines.transcribe import main
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of, write_talk

LIMIT_S = 90.0
WORKERS = {
    "memory": (),
    "threads": ("--direct_running_mode=multi_threading", "--direct_num_workers=2"),
    "processes": ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
}
STARTED, BROKEN = "started", "broken"


class BrokenTranscriber(ToneTranscriber):
    """Notes that it was called, and then fails, or takes its time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(batch_size=1)
        self._folder = folder

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        (self._folder / STARTED).touch()
        if (self._folder / BROKEN).exists():
            raise MemoryError("out of memory")
        time.sleep(0.05)
        return super().transcribe(requests)


def load(folder: Path, options: ModelOptions) -> BrokenTranscriber:
    return BrokenTranscriber(folder)


def run(folder: Path, flags: Sequence[str], backend: Backend) -> int:
    """The command."""
    return main(["--input", str(folder / "talks"), "--output", str(folder / "out"), *flags], backend)


def transform(folder: Path, flags: Sequence[str], backend: Backend) -> int:
    """A pipeline of a user."""
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(flags))) as pipeline:
        uris = pipeline | beam.Create([str(path) for path in (folder / "talks").iterdir()])
        uris | Transcribe(model="m", backend=backend)
    return 0


def interrupt_at(owner: type, name: str, *, is_late: bool = False) -> None:
    """Interrupts the process in the first call of a method of Beam; `is_late`: at its end."""
    method: Callable[..., Any] = getattr(owner, name)

    def interrupted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # of any method
        setattr(owner, name, method)
        result = method(*arguments, **named) if is_late else None
        signal.raise_signal(signal.SIGINT)
        return result if is_late else method(*arguments, **named)

    setattr(owner, name, interrupted)


def fail_at(owner: type, name: str) -> None:
    """Lets a method of Beam fail."""

    def fail(*arguments: Any, **named: Any) -> None:  # noqa: ANN401  # of any method
        raise RuntimeError("the runner failed")

    setattr(owner, name, fail)


def signal_when_started(number: int, folder: Path) -> None:
    """Sends a signal to this process once the model was called."""

    def send() -> None:
        while not (folder / STARTED).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


FAILURES: dict[str, Callable[[Path], object]] = {
    "do_fn": lambda folder: (folder / BROKEN).touch(),
    "runner": lambda _: fail_at(FnApiRunner, "_schedule_ready_bundles"),
    "sigint": partial(signal_when_started, signal.SIGINT),
    "sigterm": partial(signal_when_started, signal.SIGTERM),
    "while_workers_start": lambda _: interrupt_at(WorkerHandlerManager, "get_worker_handlers", is_late=True),
    "while_workers_end": lambda _: interrupt_at(ControlConnection, "close"),
    "while_bundles_end": lambda _: interrupt_at(BundleProcessorCache, "shutdown"),
    "while_servers_end": lambda _: interrupt_at(GrpcServer, "close"),
}


def in_child(folder: Path, workers: str, program: str, failure: str) -> None:
    """Runs the program with its failure, and ends the process as the interpreter does."""
    os.setpgid(0, 0)
    from tests.support import broken_runs  # workers cannot unpickle functions of `__main__`

    output = os.open(folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    backend = Backend(partial(broken_runs.load, folder), languages_of, ToneDetector)
    FAILURES[failure](folder)
    code = 1
    try:
        code = {"run": run, "transform": transform}[program](folder, WORKERS[workers], backend)
    finally:
        left = [f"{type(thread).__name__} {thread.name}" for thread in threading.enumerate()]
        (folder / "threads.json").write_text(json.dumps(left))
    sys.exit(code)


def outcome_of(folder: Path, workers: str, program: str, failure: str) -> dict[str, object]:
    """Forks a run; returns its exit code, and the threads that it had left."""
    for second in range(8):
        write_talk(folder / f"talks/{second}.wav", 4)
    child = os.fork()
    if not child:
        in_child(folder, workers, program, failure)
    deadline_s = time.monotonic() + LIMIT_S
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline_s:
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(ended[1]) if ended[0] else None
    while has_processes(child) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    is_left = has_processes(child)
    if is_left:
        os.killpg(child, signal.SIGKILL)
    threads = json.loads((folder / "threads.json").read_text())
    return {"code": code, "threads": threads, "processes": is_left}


def has_processes(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    top, workers, program, *failures = sys.argv[1:]
    outcomes = {one: outcome_of(Path(top, one), workers, program, one) for one in failures}
    print(json.dumps(outcomes))
