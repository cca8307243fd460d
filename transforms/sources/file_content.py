"""Tells by the first bytes of a local file whether it is audio, where its extension does not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from transforms.audio.container_lengths import has_audio_signature
from transforms.audio.mpeg_audio import mpeg_frame
from transforms.audio.raw_gsm import is_raw_gsm

HEAD_BYTES = 8192
"""More than three frames of MPEG audio, or three packets of a transport stream."""

_SIGNATURES = (
    b"\0\0\1\xba",  # MPEG program stream
    b".RMF", b"DSD ", b"FRM8", b"\x06\x0e\x2b\x34", b"nut/multimedia container\0", b"\x7f\xfe\x80\x01",
    b"MPCK", b"MP+", b"tBaK", b"ajkg",
)  # fmt: skip
"""Beginnings of formats that `has_audio_signature` does not know."""

_FORMS = {  # the form after a signature that other files have, too
    b"RIFF": (b"WAVE", b"AVI "),
    b"RIFX": (b"WAVE", b"AVI "),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV"),
}
_IMAGE_BRANDS = (b"avif", b"avis", b"crx ", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide")
_N_FRAMES = 3


def has_audio_content(path: str) -> bool:
    """Whether a local file begins like audio or video; False for one that cannot be read, or is no file.

    Formats without a signature are known by their frames or packets, of which several must follow each
    other, so that other files are hardly ever taken for audio.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would block
            return False
        with open(path, "rb") as file:
            return is_audio_head(file.read(HEAD_BYTES))
    except OSError:
        return False


def is_audio_head(head: bytes) -> bool:
    """Whether the first bytes of a file, `HEAD_BYTES` or all of it, are those of audio or video."""
    forms = _FORMS.get(head[:4])
    if forms is not None:
        return head[8:12] in forms
    if head[4:8] == b"ftyp":
        return head[8:12] not in _IMAGE_BRANDS
    return (
        has_audio_signature(head)
        or head.startswith(_SIGNATURES)
        or head[4:8] in _QUICKTIME_ATOMS
        or (head[:2] == b"\x64\xa3" and head[3:4] == b"\0")  # IRCAM
        or _has_packets(head)
        or _has_frames(head, _mpeg_frame_bytes)
        or _has_frames(head, _adts_frame_bytes)
        or is_raw_gsm(head)
        or (head.startswith(b"\x0b\x77") and b"\x0b\x77" in head[64:])  # AC-3, E-AC-3
    )


def _has_packets(head: bytes) -> bool:
    """Whether packets of an MPEG transport stream follow each other: of 188 bytes, of camcorders 192."""
    return any(
        len(head) > start + 2 * size and all(head[start + n * size] == 0x47 for n in range(_N_FRAMES))
        for start, size in ((0, 188), (4, 192))
    )


def _has_frames(head: bytes, frame_bytes: Callable[[bytes], int | None]) -> bool:
    """Whether frames follow each other from the first byte on."""
    position = 0
    for _ in range(_N_FRAMES):
        n_bytes = frame_bytes(head[position : position + 7])
        if not n_bytes:
            return False
        position += n_bytes
    return True


def _mpeg_frame_bytes(header: bytes) -> int | None:
    frame = mpeg_frame(header[:4])
    return None if frame is None else frame.n_bytes


def _adts_frame_bytes(header: bytes) -> int | None:
    """Returns the size of a frame of AAC by its header (ISO/IEC 13818-7, 6.2); None if not a header."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
