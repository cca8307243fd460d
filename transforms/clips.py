"""A part of a recording, cut out of its samples as they are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model.interface import SAMPLE_RATE, Samples
from transforms.errors import AudioError
from transforms.types import AudioSource

TOLERANCE_S = 0.2
"""An end may be said to be later than the file's by so much."""


class Clip:
    """The samples of a source that names a part of its file; all of them of one that does not.

    Attributes:
        duration_s: seconds that it has, so far as they were read.
        problem: that the file ended before it did, in words; None when it did not.
    """

    def __init__(self, source: AudioSource) -> None:
        self._start = round((source.start_s or 0.0) * SAMPLE_RATE)
        self._stop = None if source.end_s is None else max(round(source.end_s * SAMPLE_RATE), self._start + 1)
        self._n_samples = 0
        self.problem: str | None = None

    @property
    def duration_s(self) -> float:
        """Seconds of it that were given."""
        return self._n_samples / SAMPLE_RATE

    def blocks(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Passes on what is in it of consecutive blocks of the file, and reads no further than to its end.

        Raises:
            AudioError: the file ends before it begins.
        """
        n_read = 0
        for block in blocks:
            first, n_read = n_read, n_read + len(block)
            part = block[max(self._start - first, 0) : None if self._stop is None else self._stop - first]
            self._n_samples += len(part)
            if len(part):
                yield part
            if self._stop is not None and n_read >= self._stop:
                return
        self._conclude(n_read)

    def _conclude(self, n_read: int) -> None:
        file_s = n_read / SAMPLE_RATE
        if not self._n_samples:
            message = (
                f"the part asked for begins at {self._start / SAMPLE_RATE:g} s, the file ends at {file_s:g} s"
            )
            raise AudioError("decode", "empty", message)
        if self._stop is not None and self._stop - n_read > TOLERANCE_S * SAMPLE_RATE:
            self.problem = (
                f"the part asked for ends at {self._stop / SAMPLE_RATE:g} s, the file at {file_s:g} s"
            )
