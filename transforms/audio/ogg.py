"""Detects missing pages of an Ogg file: pages count samples, and the last one is marked."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import BinaryIO

from av.audio.frame import AudioFrame

_HEADER_BYTES = 27  # the last byte is the number of segment sizes that follow
_MAX_PAGE_BYTES = 65_307  # RFC 3533


def ogg_end(file: BinaryIO) -> int | None:
    """Returns the granule position of a file's last page: the end of its audio, in units of its stream.

    None if that page is incomplete or has no end-of-stream flag (RFC 3533): then the file was truncated.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * _MAX_PAGE_BYTES))
    tail = file.read()
    start = tail.rfind(b"OggS\x00")
    page = tail[start:] if start >= 0 else b""
    if len(page) < _HEADER_BYTES or len(page) < _HEADER_BYTES + page[_HEADER_BYTES - 1]:
        return None
    sizes = page[_HEADER_BYTES : _HEADER_BYTES + page[_HEADER_BYTES - 1]]
    is_complete = page[5] & 4 and len(page) >= _HEADER_BYTES + len(sizes) + sum(sizes)
    return int.from_bytes(page[6:14], "little", signed=True) if is_complete else None


class OggClock:
    """Compares timestamps of frames with the samples decoded, because FFmpeg drops damaged pages silently."""

    def __init__(self) -> None:
        self._rate: int | None = None
        self._expected_s: float | None = None

    def feed(self, frame: AudioFrame) -> float:
        """Accepts the next frame; returns the seconds missing before it."""
        self._rate = self._rate or frame.sample_rate
        if frame.pts is None or frame.time_base is None or frame.sample_rate != self._rate:
            self._expected_s = None  # a file of another rate was appended, with another unit of time
            return 0.0
        start_s = float(frame.pts * frame.time_base)
        lost_s = 0.0 if self._expected_s is None else max(0.0, start_s - self._expected_s)
        self._expected_s = start_s + frame.samples / frame.sample_rate
        return lost_s

    def end(self, granule: int, unit: Fraction | None) -> float:
        """Returns the seconds missing before the last granule position, given in units of `unit` seconds."""
        if self._expected_s is None or unit is None:
            return 0.0
        return max(0.0, float(granule * unit) - self._expected_s)
