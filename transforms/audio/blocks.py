"""Frames of a decoder into blocks whose places in the recording do not depend on where reading began."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE
from transforms.audio.downmix import values_of
from transforms.audio.resampling import resampled_length
from transforms.core.sections import BLOCK_S

MAX_BLOCK_VALUES = 1 << 22  # samples over all channels: 16 MB as float32


class Run(NamedTuple):
    """Consecutive frames of one sample rate; most recordings are a single one.

    Attributes:
        number: counted from 0.
        rate: Hz.
        n_before: samples at 16 kHz of the runs before it.
    """

    number: int
    rate: int
    n_before: int

    def time_s(self, at: int) -> float:
        """The time in the recording of a place in the run, in samples of its own."""
        return self.n_before / SAMPLE_RATE + at / self.rate

    def n_samples(self, at: int) -> int:
        """Samples at 16 kHz of the recording up to there."""
        return self.n_before + resampled_length(at, self.rate)


class PlacedFrame(NamedTuple):
    """A frame, its channels, and how many samples of its run came before it."""

    run: Run
    channels: int
    at: int
    frame: AudioFrame


class Block(NamedTuple):
    """Samples as FFmpeg has them, [channels, n], and how many of their run came before."""

    run: Run
    at: int
    values: NDArray[Any]


def blocks_of(frames: Iterable[PlacedFrame], start_s: int = 0) -> Iterator[Block]:
    """Cuts frames at each 30 s of their run, and in between where there are many channels.

    Args:
        frames: consecutive ones.
        start_s: what comes before it is left alone, a multiple of 30; but in runs behind the first.

    Yields:
        Blocks of frames that are alike, none empty.
    """
    for (run, channels, _), alike in itertools.groupby(frames, key=_kind):
        bounds = block_bounds(run.rate, channels)
        first = start_s * run.rate if run.number == 0 else 0
        cutter = _Cutter(run, bounds)
        for _, _, at, frame in alike:
            if at >= first:
                yield from cutter.add(at, values_of(frame))
            elif at + frame.samples > first:
                yield from cutter.add(first, values_of(frame)[:, first - at :])
        yield from cutter.end()


def block_bounds(rate: int, channels: int) -> list[int]:
    """Where the blocks within 30 s end, in samples: as many as are needed for none to be too large."""
    length = BLOCK_S * rate
    n_blocks = -(-length * channels // MAX_BLOCK_VALUES)
    return [length * index // n_blocks for index in range(1, n_blocks + 1)]


def _kind(placed: PlacedFrame) -> tuple[Run, int, str]:
    return placed.run, placed.channels, placed.frame.format.name


class _Cutter:
    """Collects values up to the next bound."""

    def __init__(self, run: Run, bounds: list[int]) -> None:
        self._run, self._bounds = run, bounds
        self._at = self._stop = 0
        self._waiting: list[NDArray[Any]] = []

    def add(self, at: int, values: NDArray[Any]) -> Iterable[Block]:
        """Takes values from a place on; gives the blocks that are full."""
        if self._waiting and at + values.shape[1] < self._stop:  # as most frames
            self._waiting.append(values)
            return ()
        return self._cut(at, values)

    def _cut(self, at: int, values: NDArray[Any]) -> Iterator[Block]:
        while values.shape[1]:
            if not self._waiting:
                self._at, self._stop = at, self._bound_behind(at)
            part = values[:, : self._stop - at]
            self._waiting.append(part)
            at += part.shape[1]
            values = values[:, part.shape[1] :]
            if at == self._stop:
                yield from self.end()

    def end(self) -> Iterator[Block]:
        """Gives what is left."""
        if self._waiting:
            yield Block(self._run, self._at, np.concatenate(self._waiting, axis=1))
            self._waiting = []

    def _bound_behind(self, at: int) -> int:
        whole, offset = divmod(at, self._bounds[-1])
        return whole * self._bounds[-1] + self._bounds[bisect_right(self._bounds, offset)]
