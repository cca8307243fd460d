"""The samples of a recording that windows to come may have, and no others."""

from __future__ import annotations

import numpy as np

from model.interface import Samples
from transforms.core.types import Intervals


class HeldSamples:
    """Samples that were read and not yet forgotten.

    Args:
        first: the sample of the recording that is added first.

    Attributes:
        n_read: behind the last sample that was added.
    """

    def __init__(self, first: int = 0) -> None:
        self.n_read = first
        self._blocks: list[tuple[int, Samples]] = []  # where each starts; in order, and not overlapping

    def add(self, block: Samples) -> None:
        """Adds the next block of the recording."""
        self._blocks.append((self.n_read, block))
        self.n_read += len(block)

    def keep(self, wanted: Intervals) -> None:
        """Forgets all samples but these.

        Args:
            wanted: in samples of the recording, in order and not touching.
        """
        self._blocks = [(start, samples.copy()) for start, samples in self._within(wanted)]

    def take(self, pieces: Intervals) -> Samples:
        """The samples of pieces, one behind the other: an array of its own.

        Args:
            pieces: in order, not overlapping, and of samples that are held.
        """
        return np.concatenate([samples for _, samples in self._within(pieces)])

    def _within(self, wanted: Intervals) -> list[tuple[int, Samples]]:
        found = []
        for start, stop in wanted:
            for first, samples in self._blocks:
                part = samples[max(start - first, 0) : max(stop - first, 0)]
                if len(part):
                    found.append((max(start, first), part))
        return found
