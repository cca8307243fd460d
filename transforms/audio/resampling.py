"""One channel of any rate into 16 kHz, in sections that know nothing of each other.

A resampler remembers what it heard. Here it begins anew at given places, one second before each, and goes on
one second beyond the next: within the filter's reach both have heard the same, so that no seam is to be seen,
and whoever begins at such a place gets the very samples that one who began at the start of the file gets.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from model.interface import SAMPLE_RATE, Samples

LEAD_S = 1
"""Seconds that a section hears on either side of it: hundreds of times what the filter reaches."""


def resampled_length(n_samples: int, rate: int) -> int:
    """Samples at 16 kHz of so many at a rate in Hz: soxr's rounding."""
    return (2 * n_samples * SAMPLE_RATE + rate) // (2 * rate)


def resample(
    pieces: Iterable[tuple[int, Samples]], rate: int, starts_s: Iterable[int] = (0,)
) -> Iterator[Samples]:
    """Resamples consecutive pieces of one recording.

    Args:
        pieces: each with its place, in samples of the recording; the first at most `LEAD_S` behind the
            recording's start or before the first section.
        rate: of the pieces, Hz.
        starts_s: where sections begin, in seconds, rising.

    Yields:
        float32[n] at 16 kHz, n > 0, from the first section's start on. However they are cut, they are the
        same; with one section alone, those of `soxr.resample(whole, rate, 16_000)`.
    """
    if rate == SAMPLE_RATE:
        yield from _from_place(pieces, next(iter(starts_s)) * rate)
        return
    sections = _sections(rate, starts_s)
    begun = deque([next(sections)])
    coming = next(sections, None)
    for at, samples in pieces:
        while coming is not None and at + len(samples) > coming.first:
            begun.append(coming)
            coming = next(sections, None)
        for section in begun:
            section.hear(at, samples)
        yield from begun[0].given()
        while begun[0].is_done:
            begun.popleft()
            yield from begun[0].given()
    for section in begun:
        section.end()
        yield from section.given()


def _from_place(pieces: Iterable[tuple[int, Samples]], start: int) -> Iterator[Samples]:
    for at, samples in pieces:
        if at + len(samples) > start:
            yield samples[max(start - at, 0) :]


def _sections(rate: int, starts_s: Iterable[int]) -> Iterator[_Section]:
    starts: Iterator[int | None] = itertools.chain(starts_s, [None])
    for start_s, stop_s in itertools.pairwise(starts):
        if start_s is not None:
            yield _Section(rate, start_s, stop_s)


class _Section:
    """A part of a recording with a resampler of its own.

    Attributes:
        first: the place of the first sample that it hears.
        is_done: it has heard all that it needs.
    """

    def __init__(self, rate: int, start_s: int, stop_s: int | None) -> None:
        first_s = max(start_s - LEAD_S, 0)
        self.first = first_s * rate
        self.is_done = False
        self._last = None if stop_s is None else (stop_s + LEAD_S) * rate
        self._unwanted = (start_s - first_s) * SAMPLE_RATE  # samples of its output
        self._left = None if stop_s is None else (stop_s - start_s) * SAMPLE_RATE
        self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._given: list[Samples] = []

    def hear(self, at: int, samples: Samples) -> None:
        """Takes what is its own of the next samples."""
        if self.is_done:
            return
        stop = None if self._last is None else self._last - at
        self.is_done = stop is not None and stop <= len(samples)
        part = samples[max(self.first - at, 0) : stop]
        self._give(self._stream.resample_chunk(part, last=self.is_done))

    def end(self) -> None:
        """Says that there is no more to come."""
        if not self.is_done:
            self._give(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
            self.is_done = True

    def given(self) -> Iterator[Samples]:
        """What came out since it was asked last."""
        yield from self._given
        self._given.clear()

    def _give(self, output: Samples) -> None:
        wanted = output[self._unwanted :][: self._left]
        self._unwanted -= min(self._unwanted, len(output))
        if self._left is not None:
            self._left -= len(wanted)
        if len(wanted):
            self._given.append(wanted)
