"""GSM 06.10 without a header, as telephone systems store it; FFmpeg does not recognise it."""

from __future__ import annotations

FRAME_BYTES = 33
"""Size of a frame of 20 ms."""

HEAD_BYTES = 1000 * FRAME_BYTES
"""Bytes of a file that are enough to recognise it."""

_SIGNATURE = 0xD  # the first 4 bits of each frame (RFC 3551, 4.5.8.1)
_MIN_FRAMES = 10  # by chance, so many begin with the signature once in 10^12 files


def is_raw_gsm(head: bytes) -> bool:
    """Whether a file that begins like this consists of frames of GSM 06.10, by their signatures."""
    n_frames = len(head) // FRAME_BYTES
    starts = head[: n_frames * FRAME_BYTES : FRAME_BYTES]
    return n_frames >= _MIN_FRAMES and all(start >> 4 == _SIGNATURE for start in starts)
