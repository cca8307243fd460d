"""Buffers the samples of a recording that later windows may contain."""

from __future__ import annotations

import numpy as np

from model.interface import Samples
from transforms.core.types import Intervals


class SampleBuffer:
    """Samples that were read and not yet dropped.

    Args:
        first: sample of the recording that is added first.

    Attributes:
        n_read: one past the last sample that was added, in samples of the recording.
    """

    def __init__(self, first: int = 0) -> None:
        self.n_read = first
        self._blocks: list[tuple[int, Samples]] = []  # with the first sample of each; sorted, not overlapping

    def add(self, block: Samples) -> None:
        """Adds the next block of the recording, float32[any]."""
        self._blocks.append((self.n_read, block))
        self.n_read += len(block)

    def keep(self, wanted: Intervals) -> None:
        """Drops all other samples.

        Args:
            wanted: intervals to keep, in samples of the recording; sorted, not touching.
        """
        self._blocks = [(start, samples.copy()) for start, samples in self._within(wanted)]

    def take(self, stretches: Intervals) -> Samples:
        """Returns the samples of stretches of the recording, concatenated, as a new array.

        Args:
            stretches: sorted, not overlapping, and buffered.
        """
        return np.concatenate([samples for _, samples in self._within(stretches)])

    def _within(self, wanted: Intervals) -> list[tuple[int, Samples]]:
        found = []
        for start, stop in wanted:
            for first, samples in self._blocks:
                part = samples[max(start - first, 0) : max(stop - first, 0)]
                if len(part):
                    found.append((max(start, first), part))
        return found
