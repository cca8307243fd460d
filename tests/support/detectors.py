"""Detectors that hear speech where samples are loud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.interface import SPEECH_CHUNK, Samples


class Loud:
    """Takes loud chunks for speech."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.float32)
        self._n_heard = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        heard = np.concatenate([self._rest, samples])
        n = len(heard) // SPEECH_CHUNK
        self._rest = heard[n * SPEECH_CHUNK :]
        is_loud = np.abs(heard[: n * SPEECH_CHUNK].reshape(n, SPEECH_CHUNK)).max(axis=1, initial=0) > 0.1
        numbers = np.arange(self._n_heard, self._n_heard + n)
        self._n_heard += n
        return np.asarray(is_loud & self.hears(numbers), np.float32)

    def hears(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether it hears the chunks of these numbers, counted from where it began."""
        return np.ones(len(numbers), np.bool_)

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(int(len(self._rest) > 0), np.float32)


class SlowToHear(Loud):
    """Needs three chunks to be sure of anything."""

    def hears(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(numbers >= 3)


class NowAndThen(Loud):
    """Does not hear one second in ten."""

    def hears(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(numbers % 310 < 280)
