"""Whether all of an Ogg file is there: its pages count samples, and its last one is marked."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import BinaryIO

from av.audio.frame import AudioFrame

_HEADER = 27  # bytes; the last one counts the sizes that follow
_MAX_PAGE = 65_307  # bytes, RFC 3533


def ogg_end(file: BinaryIO) -> int | None:
    """The granule position of a file's last page: where its sound ends, in units of its stream.

    None when that page is not whole, or has no end-of-stream flag (RFC 3533): then the file was cut.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * _MAX_PAGE))
    tail = file.read()
    start = tail.rfind(b"OggS\x00")
    page = tail[start:] if start >= 0 else b""
    if len(page) < _HEADER or len(page) < _HEADER + page[_HEADER - 1]:
        return None
    sizes = page[_HEADER : _HEADER + page[_HEADER - 1]]
    is_whole = page[5] & 4 and len(page) >= _HEADER + len(sizes) + sum(sizes)
    return int.from_bytes(page[6:14], "little", signed=True) if is_whole else None


class OggClock:
    """Compares the times of frames with the samples that came, for damaged pages are left out silently."""

    def __init__(self) -> None:
        self._rate: int | None = None
        self._expected_s: float | None = None

    def hear(self, frame: AudioFrame) -> float:
        """Takes the next frame; gives the seconds that are missing before it."""
        self._rate = self._rate or frame.sample_rate
        if frame.pts is None or frame.time_base is None or frame.sample_rate != self._rate:
            self._expected_s = None  # a file of another rate was joined, whose times are in other units
            return 0.0
        start_s = float(frame.pts * frame.time_base)
        lost_s = 0.0 if self._expected_s is None else max(0.0, start_s - self._expected_s)
        self._expected_s = start_s + frame.samples / frame.sample_rate
        return lost_s

    def end(self, granule: int, unit: Fraction | None) -> float:
        """Takes the last granule position, in units of so many seconds; gives seconds missing before it."""
        if self._expected_s is None or unit is None:
            return 0.0
        return max(0.0, float(granule * unit) - self._expected_s)
