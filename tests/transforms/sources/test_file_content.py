from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.encoding import encoded, ffmpeg_encoded, siren, video
from transforms.sources.file_content import HEAD_BYTES, has_audio_content, is_audio_head

SIREN = siren(2, 48_000)


@pytest.mark.parametrize(
    ("fmt", "codec"),
    [
        ("mp3", "libmp3lame"), ("mp2", "mp2"), ("adts", "aac"), ("ac3", "ac3"), ("eac3", "eac3"),
        ("mpegts", "aac"), ("vob", "mp2"), ("mpeg", "mp2"), ("ipod", "aac"), ("mov", "aac"), ("3gp", "aac"),
        ("webm", "libopus"), ("ogg", "libopus"), ("flac", "flac"), ("tta", "tta"), ("wv", "wavpack"),
        ("asf", "wmav2"), ("flv", "aac"), ("avi", "mp2"), ("caf", "pcm_s16le"), ("ircam", "pcm_s16le"),
        ("w64", "pcm_s16le"), ("au", "pcm_s16be"),
    ],
)  # fmt: skip
def test_audio_is_known_by_its_first_bytes(tmp_path: Path, fmt: str, codec: str) -> None:
    path = tmp_path / "recording"
    path.write_bytes(ffmpeg_encoded(SIREN, fmt, codec, bit_rate=None if codec.startswith("pcm") else 64_000))
    assert has_audio_content(str(path))


@pytest.mark.parametrize("header", ["0", "1"])
def test_mp3_is_known_with_and_without_tags(header: str) -> None:
    options = {"write_xing": "0", "id3v2_version": "3" if header == "1" else "0"}
    assert is_audio_head(ffmpeg_encoded(SIREN, "mp3", "libmp3lame", options=options)[:HEAD_BYTES])


@pytest.mark.parametrize("fmt", ["WAV", "W64", "RF64", "AIFF", "VOC", "NIST", "SVX"])
def test_audio_of_libsndfile_is_known(fmt: str) -> None:
    assert is_audio_head(encoded(SIREN, fmt=fmt)[:HEAD_BYTES])


def test_camcorder_packets_are_known() -> None:
    packets = ffmpeg_encoded(SIREN, "mpegts", "aac", options={"mpegts_m2ts_mode": "1"})
    assert packets[4] == 0x47
    assert is_audio_head(packets[:HEAD_BYTES])
    assert is_audio_head(video(2, SIREN[:4800])[:HEAD_BYTES])


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.wav", b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"RIFF", b"RIFF\x10\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypheic\0\0\0\0",
        b"FORM\0\0\0\x10ILBMBMHD", b"\xff\xfea\0b\0", b"\xff\xfb\x90\x64" + bytes(8000),
        b"\x0b\x77 and no more", b"%PDF-1.7", zipped(), b"G" * 4, b"A text.\n" * 2000,
        "Grüße".encode("utf-16"), bytes(HEAD_BYTES), b"\xff" * HEAD_BYTES,
        *(np.random.default_rng(seed).bytes(HEAD_BYTES) for seed in range(20)),
    ],
)  # fmt: skip
def test_other_content_is_not_audio(data: bytes) -> None:
    assert not is_audio_head(data)


def test_what_cannot_be_read_is_not_audio(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    for name in ("pipe", "nowhere", "."):
        assert not has_audio_content(str(tmp_path / name))
