from __future__ import annotations

import io
import struct

import av
import pytest

from transforms.containers import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_bytes,
    looks_like_audio,
    mp3_counts_its_frames,
    ogg_is_whole,
)


def test_ffmpeg_knows_every_format_by_that_name() -> None:
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
        (b"fLaC" + bytes(20), None),
        (b"", None),
    ],
)
def test_declared_bytes(head: bytes, expected: int | None) -> None:
    assert declared_bytes(head) == expected


def test_mp3_counts_its_frames_finds_the_header_behind_tags() -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(32)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 40, 8]) + bytes(40 * 128 + 8)
    assert mp3_counts_its_frames(io.BytesIO(frame + b"Xing"))
    assert mp3_counts_its_frames(io.BytesIO(tag + frame + b"VBRI"))
    assert not mp3_counts_its_frames(io.BytesIO(tag + frame * 100))
    assert not mp3_counts_its_frames(io.BytesIO(b"ID3"))


def test_ogg_is_whole_when_its_last_page_says_so() -> None:
    page, last_page = b"OggS\x00\x00" + bytes(60), b"OggS\x00\x04" + bytes(60)
    assert ogg_is_whole(io.BytesIO(page * 5000 + last_page))
    assert not ogg_is_whole(io.BytesIO(page * 5000))
    assert not ogg_is_whole(io.BytesIO(page + b"OggS\x00"))
    assert not ogg_is_whole(io.BytesIO(b""))


def test_looks_like_audio() -> None:
    assert looks_like_audio(b"RIFF1234WAVE")
    assert looks_like_audio(b"\x00\x00\x00\x20ftypM4A ")
    assert not looks_like_audio(b"<html>")
    assert not looks_like_audio(b"")


def test_an_ogg_file_cut_inside_its_last_page_is_not_whole() -> None:
    page = b"OggS\x00\x04" + bytes(20) + b"\x02" + bytes([255, 10]) + bytes(265)
    assert ogg_is_whole(io.BytesIO(page))
    assert not ogg_is_whole(io.BytesIO(page[:-1]))
    assert not ogg_is_whole(io.BytesIO(page[:28]))
    assert not ogg_is_whole(io.BytesIO(page[:20]))
