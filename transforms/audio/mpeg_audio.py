"""Frames of MPEG audio, layers II and III, and the length that the first one of an MP3 declares."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

_RATES = (44_100, 48_000, 32_000)  # Hz in MPEG-1; half in MPEG-2, a quarter in MPEG-2.5
_KBITS = {  # by (is MPEG-1, layer), for values 1 to 14 of the header's bit rate field
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # fmt: skip

_XING_OFFSETS = {(True, 2): 36, (True, 1): 21, (False, 2): 21, (False, 1): 13}
"""Offset of a Xing header in its frame, after the side information, by (is MPEG-1, number of channels)."""

_VBRI_OFFSET = 36
_SEARCHED_BYTES = 4096  # behind the tags, as some writers put zeros there
_LAME_PADDING_OFFSET = 21  # of the encoder's delay and padding, 12 bits each, after the fields of Xing
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")  # that write them


class MpegFrame(NamedTuple):
    """What the header of a frame declares: size, samples a channel, Hz, channels, and the version of MPEG."""

    n_bytes: int
    n_samples: int
    rate: int
    channels: int
    is_mpeg1: bool


def mpeg_frame(header: bytes) -> MpegFrame | None:
    """Returns what the 4 bytes of a header of MPEG audio, layer II or III, declare; None if it is none.

    ISO/IEC 11172-3, 2.4.2.3: 144 * bit rate / sample rate bytes, 72 in layer III of MPEG-2 and 2.5.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version = header[1] >> 3 & 3  # 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    layer = 4 - (header[1] >> 1 & 3)
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or not 1 <= bit_rate <= 14 or rate == 3:
        return None
    bits = 1000 * _KBITS[version == 3, layer][bit_rate - 1]
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    factor = 72 if layer == 3 and version != 3 else 144
    channels = 1 if header[3] >> 6 == 3 else 2
    return MpegFrame(factor * bits // hertz + padding, 8 * factor, hertz, channels, version == 3)


def mp3_declared_s(file: BinaryIO) -> float | None:
    """Returns the seconds that the Xing, LAME or VBRI header of an MP3 declares; None if it declares none.

    Where the file is longer than that, as where two files were joined or zeros follow, FFmpeg estimates a
    duration from the bit rate of the first frame instead.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3"):  # its size: 4 bytes of 7 bits
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(start)
    content = file.read(_SEARCHED_BYTES)
    at = content.find(b"\xff")
    while at >= 0:
        frame = mpeg_frame(content[at : at + 4])
        n_samples = None if frame is None else _declared_samples(content[at:], frame)
        if frame is not None and n_samples is not None:
            return n_samples / frame.rate
        at = content.find(b"\xff", at + 1)
    return None


def _declared_samples(content: bytes, frame: MpegFrame) -> int | None:
    """Returns the samples that a frame with a header of these kinds declares; None if it has none."""
    vbri = content[_VBRI_OFFSET : _VBRI_OFFSET + 18]
    if vbri.startswith(b"VBRI"):
        return int.from_bytes(vbri[14:], "big") * frame.n_samples or None
    xing = content[_XING_OFFSETS[frame.is_mpeg1, frame.channels] :]
    flags = int.from_bytes(xing[4:8], "big")
    if not xing.startswith((b"Xing", b"Info")) or not flags & 1:  # else it has no number of frames
        return None
    n_samples = int.from_bytes(xing[8:12], "big") * frame.n_samples
    sizes = (4, 4, 100, 4)  # of the fields that the flags name
    encoder = xing[8 + sum(size for bit, size in enumerate(sizes) if flags >> bit & 1) :]
    if encoder.startswith(_ENCODERS):
        both = int.from_bytes(encoder[_LAME_PADDING_OFFSET : _LAME_PADDING_OFFSET + 3], "big")
        n_samples -= (both >> 12) + (both & 0xFFF)
    return n_samples if n_samples > 0 else None
