"""Instrumented Whisper backend that logs the calls of the model and their times, for `benchmarks.profile`.

The log is the file named by the environment variable `LOG_VARIABLE`, one JSON object per line, so that
workers in other processes can write to it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from time import perf_counter

import jax
import numpy as np
from numpy.typing import NDArray

from model.interface import (
    ModelOptions,
    Request,
    Samples,
    SpeechDetector,
    Transcriber,
    WindowBatch,
    WindowResult,
)
from pipelines.backend import WHISPER, Backend

LOG_VARIABLE = "WHISPER_BEAM_MODEL_LOG"
_compiled: list[tuple[float, float]] = []  # start and end of each compilation, by the clock of this process


class InstrumentedTranscriber:
    """A `Transcriber` whose batches are instrumented."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    @property
    def batch_size(self) -> int:
        """Batch size of the wrapped transcriber."""
        return self._transcriber.batch_size

    @property
    def max_concurrent_calls(self) -> int:
        """Maximum number of concurrent calls of the wrapped transcriber."""
        return self._transcriber.max_concurrent_calls

    @property
    def arithmetic(self) -> str:
        """Arithmetic of the wrapped transcriber."""
        return self._transcriber.arithmetic

    @property
    def compile_s(self) -> float:
        """Seconds of compiling of the wrapped transcriber."""
        return self._transcriber.compile_s

    def batch_group(self, request: Request) -> Hashable:
        """See `Transcriber`."""
        return self._transcriber.batch_group(request)

    def token_ids(self, text: str) -> list[int]:
        """See `Transcriber`."""
        return self._transcriber.token_ids(text)

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """See `Transcriber`."""
        self._transcriber.warm_up(prompts=prompts, timestamps=timestamps)

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> InstrumentedBatch:
        """See `Transcriber`."""
        return InstrumentedBatch(self._transcriber.new_batch(group, n_rows))


class InstrumentedBatch:
    """A `WindowBatch` that logs each call: its seconds, and generated tokens of the windows that finished."""

    def __init__(self, batch: WindowBatch) -> None:
        self._batch = batch

    @property
    def n_free(self) -> int:
        """The number of rows that can take a window."""
        return self._batch.n_free

    @property
    def n_refilled(self) -> int:
        """The number of rows that are worth refilling together."""
        return self._batch.n_refilled

    @property
    def requests(self) -> list[Request]:
        """The requests that are being decoded."""
        return self._batch.requests

    def add(self, requests: Sequence[Request]) -> None:
        """See `WindowBatch`."""
        started = perf_counter()
        self._batch.add(requests)
        _log_call(started, [])

    def advance(
        self, *, n_free: int | None = None, max_steps: int | None = None
    ) -> list[tuple[Request, WindowResult | Exception]]:
        """See `WindowBatch`."""
        started = perf_counter()
        answers = self._batch.advance(n_free=n_free, max_steps=max_steps)
        _log_call(started, [answer for _, answer in answers if isinstance(answer, WindowResult)])
        return answers


class InstrumentedDetector:
    """A `SpeechDetector` that logs the seconds it took for a recording."""

    def __init__(self, detector: SpeechDetector) -> None:
        self._detector, self._seconds = detector, 0.0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        started = perf_counter()
        probabilities = self._detector(samples)
        self._seconds += perf_counter() - started
        return probabilities

    def finish(self) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        _log({"detector_s": self._seconds})
        return self._detector.finish()


def overlap_s(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Returns the seconds from `start` to `end` that are covered by intervals, which may overlap."""
    covered, reached = 0.0, start
    for first, last in sorted(intervals):
        covered += max(0.0, min(last, end) - max(first, reached))
        reached = max(reached, last)
    return covered


def n_tokens(result: WindowResult) -> int:
    """Returns the number of generated tokens of a window: text, two timestamps per segment, and the end."""
    times = 2 * len(result.segments) if result.timestamped else 0
    return sum(len(segment.tokens) for segment in result.segments) + times + 1


def load_instrumented(options: ModelOptions) -> InstrumentedTranscriber:
    """Loads the pipeline's model, instrumented."""
    if not _compiled:
        jax.monitoring.register_event_duration_secs_listener(_on_compile_event)
    return InstrumentedTranscriber(WHISPER.load(options))


def instrumented_detector() -> InstrumentedDetector:
    """Returns the pipeline's voice activity detector, instrumented."""
    return InstrumentedDetector(WHISPER.detector())


BACKEND = Backend(load_instrumented, WHISPER.languages, instrumented_detector)


def _on_compile_event(event: str, duration_secs: float, **_: str | int) -> None:
    if event.startswith("/jax/core/compile/"):  # tracing, lowering, compiling, or loading a compiled program
        now = perf_counter()
        _compiled.append((now - duration_secs, now))


def _log_call(started: float, results: Sequence[WindowResult]) -> None:
    ended = perf_counter()
    _log(
        {
            "model_s": ended - started,
            "compile_s": overlap_s(_compiled, started, ended),
            "n_tokens": [n_tokens(result) for result in results],
        }
    )


def _log(values: dict[str, object]) -> None:
    with Path(os.environ[LOG_VARIABLE]).open("a") as file:
        file.write(f"{json.dumps(values)}\n")
