"""What FFmpeg does not tell of a file: whether all of it is there, and whether its length is known at all."""

from __future__ import annotations

from typing import BinaryIO

WITH_LENGTH = (
    "aiff", "ape", "asf", "au", "caf", "flac", "flv", "iff", "matroska", "mov", "nistsphere", "tta", "voc",
    "w64", "wav", "wv",
)  # fmt: skip
"""FFmpeg's names of the formats whose header says how long they are."""

WITHOUT_LENGTH = (
    "aac", "ac3", "amr", "amrnb", "amrwb", "avi", "eac3", "ircam", "mp3", "mpeg", "mpegts", "ogg",
)  # fmt: skip
"""Formats that just go on until they stop: FFmpeg's duration of these is an estimate from the file's size."""

_SIGNATURES = (
    b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3",
    b"NIST_1A", b"wvpk", b"MAC ", b"TTA1", b"\x30\x26\xb2\x75", b"#!AMR", b"Creative Voice File", b"FLV\x01",
)  # fmt: skip
_UNKNOWN_LENGTH = 0x7FFF_0000  # writers to a pipe put 0x7FFFFFFF, 0xFFFFFFFF or a little less
_MAX_CHUNKS = 50_000  # of a file that is walked: two for each fragment of an MP4, of some seconds
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER = 8192  # bytes, within which writers put the properties

_MPEG_RATES = (44_100, 48_000, 32_000)  # Hz; half of it in MPEG-2, a quarter in MPEG-2.5
_MPEG_KBITS = {  # by (whether MPEG-1, layer), for the values 1 to 14 of the header's field
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # fmt: skip


def looks_like_audio(head: bytes) -> bool:
    """Whether a file that cannot be opened once was audio, by its first bytes."""
    return head.startswith(_SIGNATURES) or head[4:8] == b"ftyp"


def promised_bytes(file: BinaryIO) -> int | None:
    """How long a file says that it is; None if it does not say, or in a way that is not known here.

    FFmpeg takes the smaller of this and the real size, so that a file cut short seems whole.
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
    """Chunks of a name and 8 bytes of size; that of the last one is -1 when its writer did not know it."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(12)
        if len(header) < 12:
            return at
        size = int.from_bytes(header[4:], "big", signed=True)
        if size < 0:
            return None
        at = min(at + 12 + size, 1 << 62)  # further than files reach, which cannot be sought
    return None


def _end_of_voc(file: BinaryIO, at: int) -> int | None:
    """Blocks of a type and 3 bytes of size; the type 0 ends the file, and often is not there."""
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(4)
        if header[:1] == b"\0":
            return at + 1
        if len(header) < 4:
            return at
        at += 4 + int.from_bytes(header[1:], "little")
    return None


def _end_of_mp4(file: BinaryIO) -> int | None:
    """Boxes of 4 bytes of size and a name; the size 1 says that 8 more follow, 0 that it is the last box."""
    at = 0
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[8:16] if header[:4] == b"\0\0\0\1" else header[:4], "big")
        if len(header) < 8 or size < 8 or not header[4:8].isalnum():  # the end, or what is no box
            return at
        at = min(at + size, 1 << 62)
    return None


def _size_of_asf(file: BinaryIO) -> int | None:
    file.seek(0)
    head = file.read(_ASF_HEADER)
    at = head.find(_ASF_FILE_PROPERTIES) + 16 + 8 + 16  # behind its GUID, its own size and the file's GUID
    return int.from_bytes(head[at : at + 8], "little") or None if at >= 16 + 8 + 16 else None


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


def mpeg_frame_bytes(header: bytes) -> int | None:
    """The length of a frame of MPEG audio, layer II or III, by its first 4 bytes; None if they are no header.

    ISO/IEC 11172-3, 2.4.2.3: 144 bits' worth of samples a frame, 72 in layer III of MPEG-2 and 2.5.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = (
        header[1] >> 3 & 3,
        4 - (header[1] >> 1 & 3),
    )  # version: 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or not 1 <= bit_rate <= 14 or rate == 3:
        return None
    bits = 1000 * _MPEG_KBITS[version == 3, layer][bit_rate - 1]
    hertz = _MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    factor = 72 if layer == 3 and version != 3 else 144
    return factor * bits // hertz + padding
