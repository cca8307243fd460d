"""Resamples one channel of any rate to 16 kHz, in independent sections.

A resampler's output depends on earlier input. Here a section has its own resampler, which is fed from one
second before the section to one second after it: within the reach of the filter, neighbours get the same
input. So there is no audible seam, and decoding that starts at a section yields the same samples, bit for
bit, as decoding that starts at the beginning of the file.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from model.interface import SAMPLE_RATE, Samples

MARGIN_S = 1
"""Seconds of input on either side of a section: hundreds of times the reach of the filter."""


def resampled_length(n_samples: int, rate: int) -> int:
    """Returns the number of samples at 16 kHz of `n_samples` at a rate in Hz, with soxr's rounding."""
    return (2 * n_samples * SAMPLE_RATE + rate) // (2 * rate)


def resample(
    blocks: Iterable[tuple[int, Samples]], rate: int, starts_s: Iterable[int] = (0,)
) -> Iterator[Samples]:
    """Resamples consecutive blocks of one recording.

    Args:
        blocks: each with its position, in samples of the recording; the first begins at the recording's start
            or at least `MARGIN_S` before the first section.
        rate: sample rate of the blocks in Hz.
        starts_s: starts of the sections in seconds, ascending.

    Yields:
        float32[n] at 16 kHz, n > 0, from the first section's start on. The samples do not depend on the sizes
        of the blocks; with a single section, they are those of `soxr.resample(samples, rate, 16_000)`.
    """
    if rate == SAMPLE_RATE:
        yield from _from_position(blocks, next(iter(starts_s)) * rate)
        return
    sections = _sections(rate, starts_s)
    started = deque([next(sections)])
    following = next(sections, None)
    for position, samples in blocks:
        while following is not None and position + len(samples) > following.first:
            started.append(following)
            following = next(sections, None)
        for section in started:
            section.feed(position, samples)
        yield from started[0].pop_output()
        while started[0].is_done:
            started.popleft()
            yield from started[0].pop_output()
    for section in started:
        section.finish()
        yield from section.pop_output()


def _from_position(blocks: Iterable[tuple[int, Samples]], start: int) -> Iterator[Samples]:
    for position, samples in blocks:
        if position + len(samples) > start:
            yield samples[max(start - position, 0) :]


def _sections(rate: int, starts_s: Iterable[int]) -> Iterator[_Section]:
    starts: Iterator[int | None] = itertools.chain(starts_s, [None])
    for start_s, stop_s in itertools.pairwise(starts):
        if start_s is not None:
            yield _Section(rate, start_s, stop_s)


class _Section:
    """A section of a recording with a resampler of its own.

    Attributes:
        first: position of the first sample that it needs as input.
        is_done: it has all the input that it needs.
    """

    def __init__(self, rate: int, start_s: int, stop_s: int | None) -> None:
        first_s = max(start_s - MARGIN_S, 0)
        self.first = first_s * rate
        self.is_done = False
        self._stop = None if stop_s is None else (stop_s + MARGIN_S) * rate
        self._n_to_drop = (start_s - first_s) * SAMPLE_RATE  # samples of its output
        self._n_to_emit = None if stop_s is None else (stop_s - start_s) * SAMPLE_RATE
        self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._output: list[Samples] = []

    def feed(self, position: int, samples: Samples) -> None:
        """Resamples those of the next samples that fall within the section or its margins."""
        if self.is_done:
            return
        stop = None if self._stop is None else self._stop - position
        self.is_done = stop is not None and stop <= len(samples)
        part = samples[max(self.first - position, 0) : stop]
        self._append(self._stream.resample_chunk(part, last=self.is_done))

    def finish(self) -> None:
        """Flushes the resampler at the end of the recording."""
        if not self.is_done:
            self._append(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
            self.is_done = True

    def pop_output(self) -> Iterator[Samples]:
        """Yields the output since the last call."""
        yield from self._output
        self._output.clear()

    def _append(self, output: Samples) -> None:
        wanted = output[self._n_to_drop :][: self._n_to_emit]
        self._n_to_drop -= min(self._n_to_drop, len(output))
        if self._n_to_emit is not None:
            self._n_to_emit -= len(wanted)
        if len(wanted):
            self._output.append(wanted)
