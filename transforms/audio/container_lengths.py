"""Sizes that container headers declare and FFmpeg does not report; they tell whether a file is complete."""

from __future__ import annotations

from typing import BinaryIO

WITH_LENGTH = (
    "aiff", "ape", "asf", "au", "caf", "flac", "flv", "iff", "matroska", "mov", "nistsphere", "tta", "voc",
    "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's names of the formats whose header declares their length."""

WITHOUT_LENGTH = (
    "aac", "ac3", "amr", "amrnb", "amrwb", "avi", "eac3", "ircam", "mp3", "mpeg", "mpegts", "ogg",
)  # fmt: skip
"""Formats without a declared length: FFmpeg estimates their duration from the size of the file."""

_SIGNATURES = (
    b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3",
    b"NIST_1A", b"wvpk", b"MAC ", b"TTA1", b"\x30\x26\xb2\x75", b"#!AMR", b"Creative Voice File", b"FLV\x01",
)  # fmt: skip
_UNKNOWN_LENGTH = 0x7FFF_0000  # writers to a pipe put 0x7FFFFFFF, 0xFFFFFFFF or a little less
_MAX_CHUNKS = 50_000  # read per file: an MP4 has two for each fragment of a few seconds
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES = 8192  # writers put the file properties within these

_MPEG_RATES = (44_100, 48_000, 32_000)  # Hz in MPEG-1; half in MPEG-2, a quarter in MPEG-2.5
_MPEG_KBITS = {  # by (is MPEG-1, layer), for values 1 to 14 of the header's bit rate field
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # fmt: skip


def has_audio_signature(head: bytes) -> bool:
    """Whether a file begins like an audio format: if it cannot be opened, it is damaged audio."""
    return head.startswith(_SIGNATURES) or head[4:8] == b"ftyp"


def declared_size(file: BinaryIO) -> int | None:
    """Returns the size in bytes that a file's header declares; None if it declares none or is not known here.

    FFmpeg uses the smaller of this and the real size, so a truncated file looks complete to it.
    """
    file.seek(0)
    head = file.read(28)
    if head.startswith(b"riff"):  # W64
        return int.from_bytes(head[16:24], "little")
    if head.startswith((b"RIFF", b"RIFX", b"FORM")):
        size = int.from_bytes(head[4:8], "little" if head.startswith(b"RIFF") else "big")
        return size + 8 if 0 < size < _UNKNOWN_LENGTH else None
    if head.startswith(b"RF64") and head[12:16] == b"ds64":
        return int.from_bytes(head[20:28], "little") + 8
    if head.startswith(b"caff"):
        return _end_of_caf(file)
    if head.startswith(b"Creative Voice File"):
        return _end_of_voc(file, int.from_bytes(head[20:22], "little"))
    if head[4:8] == b"ftyp":
        return _end_of_mp4(file)
    if head.startswith(b"\x30\x26\xb2\x75"):
        return _size_of_asf(file)
    return None


def _end_of_caf(file: BinaryIO) -> int | None:
    """Walks the chunks: a name and 8 bytes of size. The last size is -1 if the writer did not know it."""
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


def _end_of_mp4(file: BinaryIO) -> int | None:
    """Walks the boxes: 4 bytes of size and a name. Size 1: 8 more bytes of size follow; 0: the last box."""
    offset = 0
    for _ in range(_MAX_CHUNKS):
        file.seek(offset)
        header = file.read(16)
        size = int.from_bytes(header[8:16] if header[:4] == b"\0\0\0\1" else header[:4], "big")
        if len(header) < 8 or size < 8 or not header[4:8].isalnum():  # the end, or not a box
            return offset
        offset = min(offset + size, 1 << 62)
    return None


def _size_of_asf(file: BinaryIO) -> int | None:
    file.seek(0)
    head = file.read(_ASF_HEADER_BYTES)
    offset = head.find(_ASF_FILE_PROPERTIES) + 16 + 8 + 16  # after its GUID, its own size and the file's GUID
    return int.from_bytes(head[offset : offset + 8], "little") or None if offset >= 16 + 8 + 16 else None


def mp3_has_frame_count(file: BinaryIO) -> bool:
    """Whether the first frame has a Xing, LAME or VBRI header, so that FFmpeg knows the exact duration."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3"):  # its size: 4 bytes of 7 bits
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(start)
    frame = file.read(2048)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def mpeg_frame_bytes(header: bytes) -> int | None:
    """Returns the size of a frame of MPEG audio, layer II or III, by its first 4 bytes; None if not a header.

    ISO/IEC 11172-3, 2.4.2.3: 144 * bit rate / sample rate bytes, 72 in layer III of MPEG-2 and 2.5.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version = header[1] >> 3 & 3  # 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    layer = 4 - (header[1] >> 1 & 3)
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or not 1 <= bit_rate <= 14 or rate == 3:
        return None
    bits = 1000 * _MPEG_KBITS[version == 3, layer][bit_rate - 1]
    hertz = _MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    factor = 72 if layer == 3 and version != 3 else 144
    return factor * bits // hertz + padding
