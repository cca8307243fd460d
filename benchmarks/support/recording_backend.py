"""The pipeline's own model, observed: what it was called with and how long it took, for `benchmarks.profile`.

Notes go to the file that `OBSERVED` in the environment names, a line each, so that workers in other processes
can take them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter

import jax
import numpy as np
from numpy.typing import NDArray

from model.interface import Request, Samples, SpeechDetector, Transcriber, TranscriberSettings, WindowResult
from pipelines.backend import WHISPER, Backend

OBSERVED = "WHISPER_BEAM_OBSERVED"
_compiled: list[tuple[float, float]] = []  # when, on the clock of this process


class ObservedTranscriber:
    """A `Transcriber` that notes each batch: tokens written of each window, seconds, those of compiling."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    @property
    def batch_size(self) -> int:
        """Of the transcriber."""
        return self._transcriber.batch_size

    @property
    def n_lanes(self) -> int:
        """Of the transcriber."""
        return self._transcriber.n_lanes

    @property
    def compile_s(self) -> float:
        """Of the transcriber."""
        return self._transcriber.compile_s

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """See `Transcriber`."""
        started = perf_counter()
        results = self._transcriber.transcribe(requests)
        ended = perf_counter()
        _note(
            {
                "model_s": ended - started,
                "compile_s": covered_s(_compiled, started, ended),
                "n_tokens": [n_tokens(result) for result in results],
            }
        )
        return results


class ObservedDetector:
    """A `SpeechDetector` that notes the seconds it took for a recording."""

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
        _note({"detector_s": self._seconds})
        return self._detector.finish()


def covered_s(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Seconds from `start` to `end` that lie in any of some intervals, which may lie in one another."""
    covered, reached = 0.0, start
    for first, last in sorted(intervals):
        covered += max(0.0, min(last, end) - max(first, reached))
        reached = max(reached, last)
    return covered


def n_tokens(result: WindowResult) -> int:
    """Tokens that were written of a window: of text, two times a segment, and the end."""
    times = 2 * len(result.segments) if result.timestamped else 0
    return sum(len(segment.tokens) for segment in result.segments) + times + 1


def load_observed(settings: TranscriberSettings) -> ObservedTranscriber:
    """The pipeline's own model."""
    if not _compiled:
        jax.monitoring.register_event_duration_secs_listener(_hear_compiler)
    return ObservedTranscriber(WHISPER.load(settings))


def observed_detector() -> ObservedDetector:
    """The pipeline's own detector."""
    return ObservedDetector(WHISPER.detector())


BACKEND = Backend(load_observed, WHISPER.languages, observed_detector)


def _hear_compiler(event: str, duration_secs: float, **_: str | int) -> None:
    if event.startswith("/jax/core/compile/"):  # tracing, lowering, compiling or loading what was compiled
        now = perf_counter()
        _compiled.append((now - duration_secs, now))


def _note(values: dict[str, object]) -> None:
    with Path(os.environ[OBSERVED]).open("a") as file:
        file.write(f"{json.dumps(values)}\n")
