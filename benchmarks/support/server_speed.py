"""Speed of the server: many clients against one and against the pipeline; a lone clip against the model."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.support.http_clients import Answer, in_parallel, transcribe
from benchmarks.support.processes import run_measured
from benchmarks.support.recordings import Recording
from benchmarks.support.server_process import ServerCommand, ServerProcess
from benchmarks.support.speed_systems import ready_s
from benchmarks.support.timing import Spread, in_turn, markdown_head, markdown_row
from model.interface import ModelOptions, Request
from model.transcriber import load_transcriber
from pipelines.backend import WHISPER
from transforms.core.types import AudioSource, AudioSpan
from transforms.windows.plan import WindowPlan
from transforms.windows.window_stream import WindowStream

ENGLISH: Mapping[str, str] = {"language": "en"}
_BEAM_SIZE = "--beam_size"
N_LONE = 20
"""Clips sent one at a time for a median."""


def throughput(
    command: ServerCommand, clips: Sequence[Recording], n_clients: int, repeat: int
) -> Iterator[str]:
    """Yields a table: clients at the same time, one client, and the pipeline, in turn over the same clips."""
    with command.start() as server:
        in_parallel(n_clients, _jobs(server, clips[:n_clients]))
        fills = list[float]()
        runs = [
            partial(_many, server, clips, n_clients, fills),
            partial(_seconds, server, clips, 1),
            partial(_pipeline, command, clips),
        ]
        many, alone, pipeline = (Spread.of(seconds) for seconds in in_turn(runs, repeat))
    yield markdown_head(
        [
            "options",
            f"{n_clients} clients, s",
            "one client, s",
            "pipeline, s",
            "times one client (2.3)",
            "of the pipeline (0.9)",
            "times real time",
            "fill of batches (85 %)",
        ]
    )
    seconds = sum(clip.duration_s for clip in clips)
    cells = [
        f"{alone.median / many.median:.2f}",
        f"{pipeline.median / many.median:.2f}",
        f"{seconds / many.median:.1f}",
        f"{statistics.median(fills):.0%}",
    ]
    yield markdown_row([command, many, alone, pipeline, *cells])


def latency(command: ServerCommand, clip: Recording, repeat: int) -> Iterator[str]:
    """Yields a table: a lone clip, the same windows in the bare model, and the first one after ready."""
    firsts = list[float]()
    for _ in range(repeat):
        with command.start() as server:
            first_s = _lone(server, clip).seconds
            firsts.append(first_s / statistics.median(_lone(server, clip).seconds for _ in range(5)))
    with command.start() as server:
        bare = _BareModel(command, round(server.metrics()["whisper_beam_batch_size"]), clip)
        bare.seconds()
        served, called = in_turn([lambda: _lone(server, clip).seconds, bare.seconds], N_LONE)
    yield markdown_head(
        [
            "options",
            "clip, s",
            "model call, s",
            "difference, ms (60)",
            "first after ready, times (1.2)",
        ]
    )
    difference_ms = 1000 * (statistics.median(served) - statistics.median(called))
    spreads = [Spread.of(served), Spread.of(called)]
    yield markdown_row([command, *spreads, f"{difference_ms:.0f}", Spread.of(firsts)])


class _BareModel:
    """The model without the server, on the windows of a clip."""

    def __init__(self, command: ServerCommand, batch_size: int, clip: Recording) -> None:
        words = list(command.decoding)
        beam_size = words[words.index(_BEAM_SIZE) + 1] if _BEAM_SIZE in words else ModelOptions.beam_size
        options = ModelOptions(model=command.model, beam_size=int(beam_size), batch_size=batch_size)
        self._transcriber = load_transcriber(options)
        with clip.path.open("rb") as file:
            plan = WindowPlan(30.0, 5.0, WHISPER.detector, over_speech=True)
            stream = WindowStream(file, AudioSpan(AudioSource("id", str(clip.path)), "en"), plan)
            windows = [window for _, window in stream.windows() if window is not None]
        self._requests = [Request(window.samples, language="en") for window in windows]

    def seconds(self) -> float:
        """Calls the model, and returns its seconds."""
        started = perf_counter()
        self._transcriber.transcribe(self._requests)
        return perf_counter() - started


def _lone(server: ServerProcess, clip: Recording) -> Answer:
    return checked(transcribe(server.port, clip.path, **ENGLISH))


def checked(answer: Answer) -> Answer:
    """Returns an answer.

    Raises:
        RuntimeError: its status is not 200.
    """
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {answer.body.decode(errors='replace')[:500]}")
    return answer


def _jobs(server: ServerProcess, clips: Sequence[Recording]) -> list[partial[Answer]]:
    return [partial(_lone, server, clip) for clip in clips]


def _seconds(server: ServerProcess, clips: Sequence[Recording], n_clients: int) -> float:
    started = perf_counter()
    in_parallel(n_clients, _jobs(server, clips))
    seconds = perf_counter() - started
    print(f"{n_clients} clients: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _many(server: ServerProcess, clips: Sequence[Recording], n_clients: int, fills: list[float]) -> float:
    """Measures many clients, and adds the mean fill of their batches."""
    before = server.metrics()
    seconds = _seconds(server, clips, n_clients)
    after = server.metrics()
    windows, batches = (
        after[name] - before.get(name, 0.0)
        for name in ("whisper_beam_batch_windows_sum", "whisper_beam_batch_windows_count")
    )
    fills.append(windows / batches / after["whisper_beam_batch_size"])
    return seconds


def _pipeline(command: ServerCommand, clips: Sequence[Recording]) -> float:
    """Measures the pipeline over the clips, from the end of loading and compiling to the last row."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pipelines.main", "transcribe", *(str(clip.path) for clip in clips)]
        words += ["--output", f"{folder}/out", "--model", command.model, "--language", "en"]
        run_measured([*words, *command.decoding])
        report = json.loads(Path(folder, "out", "run.json").read_text())
    seconds = float(report["wall_s"]) - ready_s(report)
    print(f"pipeline: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds
