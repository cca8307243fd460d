"""Backends for tests of the Python API: the tones of `tests.support.tone_backend`, observed and held up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of


@dataclass
class Observed:
    """The calls of a model.

    Attributes:
        sizes: the number of windows of each batch.
        gate: batches wait until it is set.
        entered: is released for each batch.
    """

    sizes: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def n_windows(self) -> int:
        return sum(self.sizes)

    def backend(self) -> Backend:
        return Backend(lambda options: ObservedTones(options, self), languages_of, ToneDetector)


class ObservedTones(ToneTranscriber):
    """Writes down each batch, and waits while it is held up."""

    def __init__(self, options: ModelOptions, observed: Observed) -> None:
        super().__init__(options.batch_size)
        self.observed = observed
        self.max_concurrent_calls = options.parallel_batches or 2

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.observed.sizes.append(len(requests))
        self.observed.entered.release()
        assert self.observed.gate.wait(30)
        return super().transcribe(requests)
