from __future__ import annotations

import io
import struct

import av
import pytest

from transforms.audio.container_lengths import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_size,
    end_of_segment,
    has_audio_signature,
)

VOC = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x10A, 0x1129)
MP4, MOOF = b"\0\0\0\x10ftypM4A " + bytes(4), b"\0\0\0\x08moof"
FMT = b"fmt " + struct.pack("<I", 16) + bytes(16)
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x1aE\xdf\xa3\x82xx" + b"\x18\x53\x80\x67\x84xx", 16),
        (b"\x1aE\xdf\xa3\x82xx" + b"\xec\x81x" + b"\x18\x53\x80\x67" + b"\x01" + bytes(6) + b"\x10", 38),
        (b"\x1aE\xdf\xa3\x82xx" + b"\x18\x53\x80\x67\xff", 0),
        (b"\x1aE\xdf\xa3\x82xx" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7, 0),
        (b"\x1aE\xdf\xa3\x82xx" + b"\x18\x53\x80\x67\x01", 0),
        (b"\x1aE\xdf\xa3\x00", 0),
        (b"\0\0\0\0", 0),
        (b"", 0),
        (b"\x1aE\xdf\xa3\x80" * 100, 0),
    ],
)
def test_size_that_matroska_declares(content: bytes, expected: int) -> None:
    assert end_of_segment(io.BytesIO(content)) == expected


def test_all_formats_are_known_to_ffmpeg() -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(WITH_LENGTH + WITHOUT_LENGTH) <= known
    assert not set(WITH_LENGTH) & set(WITHOUT_LENGTH)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"RIFF" + struct.pack("<I", 1000) + b"WAVE", 1008),
        (b"RIFX" + struct.pack(">I", 1000) + b"WAVE", 1008),
        (b"riff" + bytes(12) + struct.pack("<Q", 5_000_000_000), 5_000_000_000),
        (b"RIFF" + struct.pack("<I", 9000) + b"WAVE" + FMT + b"data" + struct.pack("<I", 100), 144),
        (
            b"RIFF"
            + struct.pack("<I", 9000)
            + b"WAVE"
            + b"data"
            + struct.pack("<I", 1)
            + b"xxdata\x08\0\0\0",
            38,
        ),
        (b"RIFF" + struct.pack("<I", 9000) + b"WAVE" + FMT + b"data" + bytes(4), None),
        (b"RIFF" + struct.pack("<I", 9000) + b"WAVE" + FMT + b"data" + b"\xff" * 4, None),
        (b"RIFF" + struct.pack("<I", 9000) + b"WAVE" + b"LIST" + bytes(4) * 60_000, 9008),
        (b"FORM" + struct.pack(">I", 9000) + b"AIFF" + b"SSND" + struct.pack(">I", 100), 120),
        (
            b"RF64"
            + b"\xff" * 4
            + b"WAVEds64"
            + struct.pack("<IQQQI", 28, 9000, 500, 0, 0)
            + b"data"
            + b"\xff" * 4,
            556,
        ),
        (b"RIFF" + struct.pack("<I", 0) + b"WAVE", None),
        (b"RIFF" + struct.pack("<I", 0x7FFF_F024) + b"WAVE", None),
        (b"FORM" + struct.pack(">I", 1000) + b"AIFF", 1008),
        (b"RF64" + b"\xff" * 4 + b"WAVEds64" + bytes(4) + struct.pack("<Q", 5_000_000_000), 5_000_000_008),
        (b"caff" + bytes(4) + b"desc" + struct.pack(">q", 2) + b"xxdata" + struct.pack(">q", 1000), 1034),
        (b"caff" + bytes(4) + b"data" + struct.pack(">q", 1000) + b"uuid" + struct.pack(">q", 9000), 1020),
        (b"caff" + bytes(4) + b"data" + struct.pack(">q", -1) + bytes(50), None),
        (b"caff" + bytes(4) + (b"free" + bytes(8)) * 60_000, None),
        (b"caff" + bytes(4) + b"data" + struct.pack(">q", 2**63 - 1), 1 << 62),
        (VOC + b"\x01" + (1000).to_bytes(3, "little") + bytes(400), 1030),
        (VOC + b"\x01\x02\x00\x00xx\x00", 33),
        (VOC + b"\x01\x02\x00\x00xx", 32),
        (VOC + b"\x01\x00\x00\x00" * 60_000, None),
        (ASF + bytes(100) + ASF_PROPERTIES + bytes(24) + struct.pack("<Q", 7000), 7000),
        (ASF + bytes(200), None),
        (MP4 + MOOF + b"\0\0\0\x64mdat" + bytes(20), 124),
        (MP4 + MOOF + b"\0\0\0\1mdat" + struct.pack(">Q", 1 << 33), (1 << 33) + 24),
        (MP4 + MOOF + b"\0\0\0\0mdat" + bytes(20), 24),
        (MP4 + MOOF + b"\n\n\n\n----", 24),
        (MP4 + b"\0\0\0\x64mdat" + bytes(20), None),  # the index in another box declares the sound
        (MP4, None),
        (b"fLaC" + bytes(20), None),
        (b"", None),
    ],
)
def test_declared_size(head: bytes, expected: int | None) -> None:
    assert declared_size(io.BytesIO(head)) == expected


def test_audio_signatures() -> None:
    assert has_audio_signature(b"RIFF1234WAVE")
    assert has_audio_signature(b"\x00\x00\x00\x20ftypM4A ")
    assert not has_audio_signature(b"<html>")
    assert not has_audio_signature(b"")
