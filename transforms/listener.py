"""Listens along while a recording is read, and knows where somebody speaks in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.speech import SpeechFinder, SpeechPart, speech_intervals
from transforms.types import Intervals

MakeDetector = Callable[[], SpeechDetector]


class Listener:
    """What was heard of one recording so far, and is not forgotten.

    Args:
        make: makes the detector; None for a listener that knows nothing.
    """

    def __init__(self, make: MakeDetector | None) -> None:
        self._detector = make() if make else None
        self._finder = SpeechFinder()
        self._n_samples = 0
        self._n_spoken = 0
        self._probabilities: NDArray[np.float32] = np.empty(0, np.float32)  # of the chunks not forgotten
        self._n_forgotten = 0  # chunks

    @property
    def settled(self) -> int:
        """No part of speech that is still to be given has a sample before this one."""
        return self._finder.settled

    def hear(self, block: Samples) -> list[SpeechPart]:
        """Listens to the next block of the recording, and gives the speech that is sure now."""
        self._n_samples += len(block)
        if self._detector is None:
            return []
        probabilities = self._detector(block)
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        n_chunks = self._n_forgotten + len(self._probabilities)
        return self._count(self._finder.hear(probabilities, n_chunks * SPEECH_CHUNK))

    def finish(self) -> list[SpeechPart]:
        """Gives the speech that is left, as nothing follows."""
        if self._detector is None:
            return []
        probabilities = self._detector.finish()
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        return self._count(self._finder.hear(probabilities, self._n_samples) + self._finder.finish())

    def forget(self, before: int) -> None:
        """Forgets what was heard before a sample: `speech` is not asked for it any more."""
        n_chunks = before // SPEECH_CHUNK - self._n_forgotten
        if n_chunks > 0:
            self._probabilities = self._probabilities[n_chunks:].copy()
            self._n_forgotten += n_chunks

    def speech(self, start: int, n_samples: int) -> Intervals | None:
        """Where somebody speaks in `n_samples` from `start` on, all of them heard and not forgotten.

        By these alone, whatever is around them. In samples from `start`; None when nobody listens.
        """
        if self._detector is None:
            return None
        first = start // SPEECH_CHUNK
        before = start - first * SPEECH_CHUNK
        n_chunks = -(-(before + n_samples) // SPEECH_CHUNK)
        chunks = self._probabilities[first - self._n_forgotten :][:n_chunks]
        found = speech_intervals(chunks, min(len(chunks) * SPEECH_CHUNK, before + n_samples))
        moved = ((max(begin - before, 0), end - before) for begin, end in found)
        return tuple((begin, end) for begin, end in moved if begin < end)

    def speech_s(self) -> float | None:
        """Seconds of speech in all that was sure so far; None when nobody listens."""
        return None if self._detector is None else self._n_spoken / SAMPLE_RATE

    def _count(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        self._n_spoken += sum(part.n_samples for part in parts)
        return parts
