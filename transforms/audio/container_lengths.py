"""Sizes that container headers declare and FFmpeg does not report; they tell whether a file is complete."""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

WITH_LENGTH = (
    "aiff", "ape", "asf", "au", "caf", "flac", "flv", "iff", "matroska", "mov", "mxf", "nistsphere", "tta",
    "voc", "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's names of the formats whose header declares their length."""

WITHOUT_LENGTH = (
    "aac", "ac3", "amr", "amrnb", "amrwb", "avi", "eac3", "gsm", "ircam", "mp3", "mpeg", "mpegts", "nut",
    "ogg", "rm",
)  # fmt: skip
"""Formats without a declared length: FFmpeg estimates their duration from the size of the file."""

_SIGNATURES = (
    b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3",
    b"NIST_1A", b"wvpk", b"MAC ", b"TTA1", b"\x30\x26\xb2\x75", b"#!AMR", b"Creative Voice File", b"FLV\x01",
)  # fmt: skip
_SOUND_CHUNKS = (b"data", b"SSND", b"BODY")  # of WAV, AIFF and 8SVX
_UNKNOWN_LENGTH = 0x7FFF_0000  # writers to a pipe put 0x7FFFFFFF, 0xFFFFFFFF or a little less
_BLOCK_BYTES = 1 << 20
_MAX_PAGE_BYTES = 1 << 17  # of Ogg, or a packet of MPEG-TS: what may follow a packet
_MAX_CHUNKS = 50_000  # read per file: an MP4 has two for each fragment of a few seconds
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SEGMENT = b"\x18\x53\x80\x67"
_MAX_HEADERS = 16  # elements before the segment of a Matroska file: one, and perhaps some that are void
_ASF_HEADER_BYTES = 8192  # writers put the file properties within these


def has_audio_signature(head: bytes) -> bool:
    """Whether a file begins like an audio format: if it cannot be opened, it is damaged audio."""
    return head.startswith(_SIGNATURES) or head[4:8] == b"ftyp"


def size_without_zeros(file: BinaryIO) -> int:
    """Returns the size of a file without the zeros at its end, with which some programs fill it up."""
    size = file.seek(0, os.SEEK_END)
    while size:
        start = max(0, size - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(size - start).rstrip(b"\0")
        if block:
            return start + len(block)
        size = start
    return 0


def ends_in_zeros(file: BinaryIO, n_read: int) -> bool:
    """Whether a file has only zeros behind the sound, if its last packet ended after so many bytes."""
    size = size_without_zeros(file)
    return size < file.seek(0, os.SEEK_END) and n_read > size - _MAX_PAGE_BYTES


def declared_size(file: BinaryIO) -> int | None:
    """Returns the size in bytes that a file's header declares; None if it declares none or is not known here.

    FFmpeg uses the smaller of this and the real size, so a truncated file looks complete to it.
    """
    file.seek(0)
    head = file.read(36)
    if head.startswith(b"riff"):  # W64
        return int.from_bytes(head[16:24], "little")
    if head.startswith((b"RIFF", b"RIFX", b"FORM", b"RF64")):
        return _end_of_riff(file, head)
    if head.startswith(b"caff"):
        return _end_of_caf(file)
    if head.startswith(b"Creative Voice File"):
        return _end_of_voc(file, int.from_bytes(head[20:22], "little"))
    if head[4:8] == b"ftyp":
        return _end_of_fragments(file)
    if head.startswith(b"\x30\x26\xb2\x75"):
        return _size_of_asf(file)
    return None


def end_of_segment(file: BinaryIO) -> int:
    """Returns the size in bytes that a Matroska file declares; 0 if it declares none, as live streams.

    Elements have a number and a size, of up to 8 bytes each: as many as the leading zeros of the first one
    say (RFC 8794). The element of the pictures and the sound follows a short header.
    """
    offset = 0
    for _ in range(_MAX_HEADERS):
        file.seek(offset)
        head = file.read(16)
        n_number = 9 - head[0].bit_length() if head else 9
        n_size = 9 - head[n_number].bit_length() if n_number < len(head) else 9
        start = n_number + n_size
        if n_size > 8 or start > len(head):
            return 0
        size = int.from_bytes(head[n_number:start]) - (1 << 7 * n_size)
        if size == (1 << 7 * n_size) - 1:  # unknown
            return 0
        offset += start + size
        if head[:n_number] == _SEGMENT:
            return offset
    return 0


def _end_of_riff(file: BinaryIO, head: bytes) -> int | None:
    """Walks the chunks, a name and 4 bytes of size, to the last one with sound; else the size of all counts.

    What follows the sound may be missing, and the size of all be wrong.
    """
    order: Literal["little", "big"] = "little" if head[:4] in (b"RIFF", b"RF64") else "big"
    has_long_sizes = head.startswith(b"RF64") and head[12:16] == b"ds64"
    offset, end = 12, None
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        header = file.read(8)
        if len(header) < 8:
            break
        size = int.from_bytes(header[4:], order)
        if header[:4] in _SOUND_CHUNKS:
            if has_long_sizes:
                size = min(int.from_bytes(head[28:36], "little"), 1 << 62)
            elif not 0 < size < _UNKNOWN_LENGTH:
                return None
            end = offset + 8 + size
        offset += 8 + size + size % 2
    if end is not None:
        return end
    size = int.from_bytes(head[20:28] if has_long_sizes else head[4:8], order)
    return size + 8 if has_long_sizes or 0 < size < _UNKNOWN_LENGTH else None


def _end_of_caf(file: BinaryIO) -> int | None:
    """Walks the chunks, a name and 8 bytes of size, to that with the sound; -1 if its size was not known."""
    offset = 8
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        header = file.read(12)
        if len(header) < 12:
            return offset
        size = int.from_bytes(header[4:], "big", signed=True)
        if size < 0:
            return None
        offset = min(offset + 12 + size, 1 << 62)  # beyond any file; larger offsets cannot be passed to seek
        if header.startswith(b"data"):
            return offset
    return None


def _end_of_voc(file: BinaryIO, offset: int) -> int | None:
    """Walks the blocks: a type and 3 bytes of size. Type 0 ends the file, but is often missing."""
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        header = file.read(4)
        if header[:1] == b"\0":
            return offset + 1
        if len(header) < 4:
            return offset
        offset += 4 + int.from_bytes(header[1:], "little")
    return None


def _end_of_fragments(file: BinaryIO) -> int | None:
    """Walks the boxes of an MP4 in fragments; of others, the index of samples declares what belongs to them.

    A box has 4 bytes of size and a name. Size 1: 8 more bytes of size follow; 0: the last box.
    """
    offset, has_fragments = 0, False
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        header = file.read(16)
        size = int.from_bytes(header[8:16] if header[:4] == b"\0\0\0\1" else header[:4], "big")
        if len(header) < 8 or size < 8 or not header[4:8].isalnum():  # the end, or not a box
            return offset if has_fragments else None
        has_fragments |= header[4:8] == b"moof"
        offset = min(offset + size, 1 << 62)
    return None


def _size_of_asf(file: BinaryIO) -> int | None:
    file.seek(0)
    head = file.read(_ASF_HEADER_BYTES)
    offset = head.find(_ASF_FILE_PROPERTIES) + 16 + 8 + 16  # after its GUID, its own size and the file's GUID
    return int.from_bytes(head[offset : offset + 8], "little") or None if offset >= 16 + 8 + 16 else None
