"""Listens along while a recording is read, and knows of each of its windows where somebody speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.speech import speech_intervals
from transforms.types import Intervals

MakeDetector = Callable[[], SpeechDetector]


class Listener:
    """One recording's probabilities of speech; a float for each 32 ms is all that is kept of it.

    Args:
        make: makes the detector; None for a listener that knows nothing.
    """

    def __init__(self, make: MakeDetector | None) -> None:
        self._detector = make() if make else None
        self._heard: list[NDArray[np.float32]] = []
        self._n_samples = 0

    def follow(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Passes blocks on, listened to."""
        for block in blocks:
            self._n_samples += len(block)
            if self._detector is not None:
                self._heard.append(self._detector(block))
            yield block
        if self._detector is not None:
            self._heard.append(self._detector.finish())

    def speech(self, start: int, n_samples: int) -> Intervals | None:
        """Where somebody speaks in `n_samples` from `start` on, all of them passed on already.

        In samples from `start`; None when nobody listens.
        """
        if self._detector is None:
            return None
        first = start // SPEECH_CHUNK
        before = start - first * SPEECH_CHUNK
        n_chunks = -(-(before + n_samples) // SPEECH_CHUNK)
        chunks = self._probabilities()[first : first + n_chunks]
        found = speech_intervals(chunks, min(len(chunks) * SPEECH_CHUNK, before + n_samples))
        moved = ((max(begin - before, 0), end - before) for begin, end in found)
        return tuple((begin, end) for begin, end in moved if begin < end)

    def speech_s(self) -> float | None:
        """Seconds of speech in all that was passed on; None when nobody listens."""
        found = self.speech(0, self._n_samples)
        return None if found is None else sum(end - begin for begin, end in found) / SAMPLE_RATE

    def _probabilities(self) -> NDArray[np.float32]:
        if len(self._heard) > 1:
            self._heard = [np.concatenate(self._heard)]
        return self._heard[0] if self._heard else np.empty(0, np.float32)
