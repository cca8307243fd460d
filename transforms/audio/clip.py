"""A time range of a file, cut out of its samples as they are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model.interface import SAMPLE_RATE, Samples
from transforms.core.clips import END
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource

TOLERANCE_S = 0.2
"""The end that a source names may be later than the file's end by this much."""


class Clip:
    """The samples of the time range that a source names; the whole file if it names none.

    Args:
        source: the recording, with `start_s` and `end_s` of the range.
        first: index in the file of the first sample of the blocks; 0 if they begin at the file's start.
        stop: samples of the range from which on none is wanted.

    Attributes:
        n_samples: samples read so far, counted from the start of the range.
        problem: message that the file ended before the range did; None if it did not.
    """

    def __init__(self, source: AudioSource, first: int = 0, stop: int = END) -> None:
        self._start = round((source.start_s or 0.0) * SAMPLE_RATE)
        end = None if source.end_s is None else max(round(source.end_s * SAMPLE_RATE), self._start + 1)
        self._end = END if end is None else end
        self._stop = min(self._end, self._start + stop)
        self._first = first
        self.n_samples = max(first - self._start, 0)
        self.problem: str | None = None

    def blocks(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Yields the samples of consecutive blocks that are in the range; reads no block after its end.

        Raises:
            AudioError: the file ends before the range begins.
        """
        n_read = self._first
        for block in blocks:
            first, n_read = n_read, n_read + len(block)
            part = block[max(self._start - first, 0) : max(self._stop - first, 0)]
            self.n_samples += len(part)
            if len(part):
                yield part
            if n_read >= self._stop:
                return
        self._check_end(n_read)

    def _check_end(self, n_read: int) -> None:
        file_s = n_read / SAMPLE_RATE
        if not self.n_samples:
            message = (
                f"the requested part begins at {self._start / SAMPLE_RATE:g} s, the file ends at {file_s:g} s"
            )
            raise AudioError("decode", "empty", message)
        if END > self._end > n_read + TOLERANCE_S * SAMPLE_RATE:
            self.problem = (
                f"the requested part ends at {self._end / SAMPLE_RATE:g} s, the file at {file_s:g} s"
            )
