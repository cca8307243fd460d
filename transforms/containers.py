"""What FFmpeg does not tell of a file: whether all of it is there, and whether its length is known at all."""

from __future__ import annotations

import os
from typing import BinaryIO

WITH_LENGTH = (
    "aiff", "ape", "asf", "au", "avi", "caf", "flac", "iff", "matroska", "mov", "nistsphere", "tta", "voc",
    "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's names of the formats whose header says how long they are."""

WITHOUT_LENGTH = (
    "aac", "ac3", "amr", "amrnb", "amrwb", "eac3", "flv", "ircam", "mp3", "mpeg", "mpegts", "ogg",
)  # fmt: skip
"""Formats that just go on until they stop: FFmpeg's duration of these is an estimate from the file's size."""

_SIGNATURES = (
    b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3",
    b"NIST_1A", b"wvpk", b"MAC ", b"TTA1", b"\x30\x26\xb2\x75", b"#!AMR",
)  # fmt: skip
_UNKNOWN_LENGTH = 0x7FFF_0000  # writers to a pipe put 0x7FFFFFFF, 0xFFFFFFFF or a little less
_OGG_HEADER = 27  # bytes; the last one counts the sizes that follow
_MAX_OGG_PAGE = 65_307  # bytes, RFC 3533


def looks_like_audio(head: bytes) -> bool:
    """Whether a file that cannot be opened once was audio, by its first bytes."""
    return head.startswith(_SIGNATURES) or head[4:8] == b"ftyp"


def declared_bytes(head: bytes) -> int | None:
    """How long a WAV or W64 file says that it is, by its first 24 bytes; None if it does not say.

    FFmpeg takes the smaller of this and the real size, so that a file cut short seems whole.
    """
    if head.startswith(b"riff"):
        return int.from_bytes(head[16:24], "little")
    if head.startswith((b"RIFF", b"RIFX")):
        size = int.from_bytes(head[4:8], "little" if head.startswith(b"RIFF") else "big")
        return size + 8 if 0 < size < _UNKNOWN_LENGTH else None
    return None


def mp3_counts_its_frames(file: BinaryIO) -> bool:
    """Whether the first frame holds a Xing, LAME or VBRI header, so that FFmpeg knows the true duration."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3"):  # its size is 4 bytes of 7 bits
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(start)
    frame = file.read(2048)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def ogg_is_whole(file: BinaryIO) -> bool:
    """Whether the last page is whole and has the end-of-stream flag (RFC 3533); else the file was cut."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * _MAX_OGG_PAGE))
    tail = file.read()
    start = tail.rfind(b"OggS\x00")
    page = tail[start:] if start >= 0 else b""
    if len(page) < _OGG_HEADER or len(page) < _OGG_HEADER + page[_OGG_HEADER - 1]:
        return False
    sizes = page[_OGG_HEADER : _OGG_HEADER + page[_OGG_HEADER - 1]]
    return bool(page[5] & 4) and len(page) >= _OGG_HEADER + len(sizes) + sum(sizes)
