"""Finds the end of an Ogg file: pages count samples, and the last one is marked."""

from __future__ import annotations

from typing import BinaryIO

from transforms.audio.container_lengths import size_without_zeros

_HEADER_BYTES = 27  # the last byte is the number of segment sizes that follow
_MAX_PAGE_BYTES = 65_307  # RFC 3533


def ogg_end(file: BinaryIO) -> int | None:
    """Returns the granule position of a file's last page: the end of its audio, in units of its stream.

    None if that page is incomplete or has no end-of-stream flag (RFC 3533): then the file was truncated.
    """
    size = size_without_zeros(file)
    file.seek(max(0, size - 2 * _MAX_PAGE_BYTES))
    tail = file.read(4 * _MAX_PAGE_BYTES)  # the page itself may end with zeros
    start = tail.rfind(b"OggS\x00")
    page = tail[start:] if start >= 0 else b""
    if len(page) < _HEADER_BYTES or len(page) < _HEADER_BYTES + page[_HEADER_BYTES - 1]:
        return None
    sizes = page[_HEADER_BYTES : _HEADER_BYTES + page[_HEADER_BYTES - 1]]
    is_complete = page[5] & 4 and len(page) >= _HEADER_BYTES + len(sizes) + sum(sizes)
    return int.from_bytes(page[6:14], "little", signed=True) if is_complete else None
