"""Cuts decoded frames into blocks whose positions do not depend on where decoding began."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE
from transforms.audio.downmix import MixWeights, values_of
from transforms.audio.resampling import resampled_length
from transforms.core.sections import BLOCK_S

MAX_BLOCK_VALUES = 1 << 22  # samples over all channels: 16 MB as float32


class RateRun(NamedTuple):
    """Consecutive frames of one sample rate; most recordings are a single run.

    Attributes:
        number: index of the run, from 0.
        rate: Hz.
        n_before: samples at 16 kHz in the runs before it.
    """

    number: int
    rate: int
    n_before: int

    def time_s(self, position: int) -> float:
        """Returns the time in the recording of a position in the run, given in samples at the run's rate."""
        return self.n_before / SAMPLE_RATE + position / self.rate

    def n_samples(self, position: int) -> int:
        """Returns the number of samples at 16 kHz from the recording's start to a position in the run."""
        return self.n_before + resampled_length(position, self.rate)


class PlacedFrame(NamedTuple):
    """A frame of a run.

    Attributes:
        position: samples of the run before it.
        weights: of its channels in the mix, see `transforms.audio.downmix.mix_weights`.
    """

    run: RateRun
    channels: int
    position: int
    frame: AudioFrame
    weights: MixWeights | None = None


class Block(NamedTuple):
    """Samples in FFmpeg's format, [channels, n], their position and how they are mixed; see `PlacedFrame`."""

    run: RateRun
    position: int
    values: NDArray[Any]
    weights: MixWeights | None = None


def blocks_of(frames: Iterable[PlacedFrame], start_s: Callable[[], int] = lambda: 0) -> Iterator[Block]:
    """Cuts frames at each multiple of 30 s of their run, and more often if there are many channels.

    Args:
        frames: consecutive frames.
        start_s: returns a multiple of 30, which may grow between two blocks: frames of the first run before
            this time are dropped, unless a block was begun. Later runs are returned from their start.

    Yields:
        Non-empty blocks, each of frames of one run, number and layout of channels, and sample format.
    """
    for (run, channels, weights, _), alike in itertools.groupby(frames, key=_kind):
        builder = _BlockBuilder(run, block_bounds(run.rate, channels), weights)
        for _, _, position, frame, _ in alike:
            first = start_s() * run.rate if run.number == 0 else 0
            if position >= first:
                yield from builder.add(position, values_of(frame))
                continue
            builder.drop()
            if position + frame.samples > first:
                yield from builder.add(first, values_of(frame)[:, first - position :])
        yield from builder.flush()


def block_bounds(rate: int, channels: int) -> list[int]:
    """Returns the ends of the blocks within 30 s, in samples: as many as keep blocks below the limit."""
    length = BLOCK_S * rate
    n_blocks = -(-length * channels // MAX_BLOCK_VALUES)
    return [length * index // n_blocks for index in range(1, n_blocks + 1)]


def _kind(placed: PlacedFrame) -> tuple[RateRun, int, MixWeights | None, str]:
    return placed.run, placed.channels, placed.weights, placed.frame.format.name


class _BlockBuilder:
    """Buffers values up to the next block bound."""

    def __init__(self, run: RateRun, bounds: list[int], weights: MixWeights | None) -> None:
        self._run, self._bounds, self._weights = run, bounds, weights
        self._start = self._stop = 0
        self._buffered: list[NDArray[Any]] = []

    def add(self, position: int, values: NDArray[Any]) -> Iterable[Block]:
        """Buffers the values at a position; returns the blocks that are complete."""
        if self._buffered and position + values.shape[1] < self._stop:  # the common case
            self._buffered.append(values)
            return ()
        return self._cut(position, values)

    def _cut(self, position: int, values: NDArray[Any]) -> Iterator[Block]:
        while values.shape[1]:
            if not self._buffered:
                self._start, self._stop = position, self._bound_after(position)
            part = values[:, : self._stop - position]
            self._buffered.append(part)
            position += part.shape[1]
            values = values[:, part.shape[1] :]
            if position == self._stop:
                yield from self.flush()

    def flush(self) -> Iterator[Block]:
        """Yields the buffered values as a block, if there are any."""
        if self._buffered:
            yield Block(self._run, self._start, np.concatenate(self._buffered, axis=1), self._weights)
            self._buffered = []

    def drop(self) -> None:
        """Drops the buffered values, as the next ones do not follow them."""
        self._buffered = []

    def _bound_after(self, position: int) -> int:
        whole, offset = divmod(position, self._bounds[-1])
        return whole * self._bounds[-1] + self._bounds[bisect_right(self._bounds, offset)]
