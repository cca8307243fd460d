from __future__ import annotations

import io
import struct

import av
import pytest

from transforms.audio.container_lengths import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_size,
    has_audio_signature,
    mp3_has_frame_count,
    mpeg_frame_bytes,
)

VOC = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x10A, 0x1129)
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


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
        (b"RIFF" + struct.pack("<I", 0) + b"WAVE", None),
        (b"RIFF" + struct.pack("<I", 0x7FFF_F024) + b"WAVE", None),
        (b"FORM" + struct.pack(">I", 1000) + b"AIFF", 1008),
        (b"RF64" + b"\xff" * 4 + b"WAVEds64" + bytes(4) + struct.pack("<Q", 5_000_000_000), 5_000_000_008),
        (b"caff" + bytes(4) + b"desc" + struct.pack(">q", 2) + b"xxdata" + struct.pack(">q", 1000), 1034),
        (b"caff" + bytes(4) + b"data" + struct.pack(">q", -1) + bytes(50), None),
        (b"caff" + bytes(4) + (b"free" + bytes(8)) * 60_000, None),
        (b"caff" + bytes(4) + b"data" + struct.pack(">q", 2**63 - 1), 1 << 62),
        (VOC + b"\x01" + (1000).to_bytes(3, "little") + bytes(400), 1030),
        (VOC + b"\x01\x02\x00\x00xx\x00", 33),
        (VOC + b"\x01\x02\x00\x00xx", 32),
        (VOC + b"\x01\x00\x00\x00" * 60_000, None),
        (ASF + bytes(100) + ASF_PROPERTIES + bytes(24) + struct.pack("<Q", 7000), 7000),
        (ASF + bytes(200), None),
        (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\x64mdat" + bytes(20), 116),
        (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\1mdat" + struct.pack(">Q", 1 << 33), (1 << 33) + 16),
        (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\0mdat" + bytes(20), 16),
        (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\n\n\n\n----", 16),
        (b"fLaC" + bytes(20), None),
        (b"", None),
    ],
)
def test_declared_size(head: bytes, expected: int | None) -> None:
    assert declared_size(io.BytesIO(head)) == expected


def test_mp3_frame_count_is_found_after_tags() -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(32)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 40, 8]) + bytes(40 * 128 + 8)
    assert mp3_has_frame_count(io.BytesIO(frame + b"Xing"))
    assert mp3_has_frame_count(io.BytesIO(tag + frame + b"VBRI"))
    assert not mp3_has_frame_count(io.BytesIO(tag + frame * 100))
    assert not mp3_has_frame_count(io.BytesIO(b"ID3"))


def test_audio_signatures() -> None:
    assert has_audio_signature(b"RIFF1234WAVE")
    assert has_audio_signature(b"\x00\x00\x00\x20ftypM4A ")
    assert not has_audio_signature(b"<html>")
    assert not has_audio_signature(b"")


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ("fffb9000", 417), ("fffb9200", 418), ("fff38000", 208), ("ffe38000", 417), ("fffd8000", 417),
        ("fffb0000", None), ("fffbf000", None), ("fffb9c00", None), ("ffff9000", None), ("ffeb9000", None),
        ("544147", None), ("54414700", None), ("", None),
    ],
)  # fmt: skip
def test_mpeg_frame_bytes(header: str, n_bytes: int | None) -> None:
    assert mpeg_frame_bytes(bytes.fromhex(header)) == n_bytes
