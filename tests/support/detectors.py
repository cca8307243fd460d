"""Speech detectors for tests: loud chunks are speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.interface import SPEECH_CHUNK, SPEECH_DELAY, Samples


class LoudnessDetector:
    """Classifies loud chunks as speech."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._n_chunks = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        stream = np.concatenate([self._rest, samples])
        n = len(stream) // SPEECH_CHUNK
        self._rest = stream[n * SPEECH_CHUNK :]
        is_loud = np.abs(stream[: n * SPEECH_CHUNK].reshape(n, SPEECH_CHUNK)).max(axis=1, initial=0) > 0.1
        numbers = np.arange(self._n_chunks, self._n_chunks + n)
        self._n_chunks += n
        return np.asarray(is_loud & self.detects(numbers), np.float32)

    def detects(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether speech can be detected in the chunks of these numbers, counted from the stream's start."""
        return np.ones(len(numbers), np.bool_)

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(int(len(self._rest) > 0), np.float32)


class DelayedDetector(LoudnessDetector):
    """Detects no speech in the first three chunks."""

    def detects(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(numbers >= 3)


class LookaheadDetector(DelayedDetector):
    """Decides on a chunk once all samples that it may wait for were given."""

    def __init__(self) -> None:
        super().__init__()
        self._undecided: NDArray[np.float32] = np.empty(0, np.float32)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        found = np.concatenate([self._undecided, super().__call__(samples)])
        n_decided = max(len(found) - SPEECH_DELAY // SPEECH_CHUNK, 0)
        self._undecided = found[n_decided:]
        return found[:n_decided]

    def finish(self) -> NDArray[np.float32]:
        return np.concatenate([self._undecided, super().finish()])


class IntermittentDetector(LoudnessDetector):
    """Misses speech during one second in ten."""

    def detects(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(numbers % 310 < 280)
