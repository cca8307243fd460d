from __future__ import annotations

import io
import struct

import pytest

from model.interface import SAMPLE_RATE
from tests.support.encoding import INTACT, condition_of, decoded, encoded, ffmpeg_encoded, siren
from transforms.audio.mpeg_audio import MpegFrame, mp3_declared_s, mpeg_frame


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ("fffb9000", 417), ("fffb9200", 418), ("fff38000", 208), ("ffe38000", 417), ("fffd8000", 417),
        ("fffb0000", None), ("fffbf000", None), ("fffb9c00", None), ("ffff9000", None), ("ffeb9000", None),
        ("544147", None), ("54414700", None), ("", None),
    ],
)  # fmt: skip
def test_size_of_a_frame(header: str, n_bytes: int | None) -> None:
    frame = mpeg_frame(bytes.fromhex(header))
    assert (frame.n_bytes if frame else None) == n_bytes


def test_header_of_a_frame() -> None:
    assert mpeg_frame(bytes.fromhex("fffb9000")) == MpegFrame(417, 1152, 44_100, 2, is_mpeg1=True)
    assert mpeg_frame(bytes.fromhex("fff380c0")) == MpegFrame(208, 576, 22_050, 1, is_mpeg1=False)


def xing(header: str, offset: int, flags: int = 1, n_frames: int = 1000, lame: bytes = b"") -> bytes:
    fields = b"".join(bytes(size) for bit, size in ((2, 4), (4, 100), (8, 4)) if flags & bit)
    body = b"Xing" + struct.pack(">II", flags, n_frames) + fields + lame
    return bytes.fromhex(header) + bytes(offset - 4) + body


LAME = b"LAME3.100" + bytes(12) + (576 << 12 | 1000).to_bytes(3, "big")
TAG = b"ID3\x03\x00\x00" + bytes([0, 0, 40, 8]) + bytes(40 * 128 + 8)


@pytest.mark.parametrize(
    ("content", "n_samples"),
    [
        (xing("fffb9000", 36), 1000 * 1152),
        (xing("fffb90c0", 21), 1000 * 1152),
        (xing("fff380c0", 13), 1000 * 576),
        (xing("fffb9000", 36, 15, lame=LAME), 1000 * 1152 - 1576),
        (xing("fffb9000", 36, 1, lame=LAME), 1000 * 1152 - 1576),
        (TAG + xing("fffb9000", 36), 1000 * 1152),
        (bytes(1000) + xing("fffb9000", 36), 1000 * 1152),
        (xing("fffb9000", 36, n_frames=0xFFFF_FFFF), 0xFFFF_FFFF * 1152),
        (
            bytes.fromhex("fffb9000") + bytes(32) + b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 0, 500),
            500 * 1152,
        ),
        (xing("fffb9000", 36, flags=14), None),  # without a number of frames
        (xing("fffb9000", 36, n_frames=0), None),
        (xing("fffb9000", 36, n_frames=1, lame=LAME), None),
        (xing("fffb9000", 30), None),
        (bytes.fromhex("fffb9000") * 3000, None),
        (b"ID3", None),
        (b"", None),
    ],
)
def test_declared_length(content: bytes, n_samples: int | None) -> None:
    found_s = mp3_declared_s(io.BytesIO(content))
    rate = 22_050 if content.startswith(b"\xff\xf3") else 44_100
    assert found_s == (None if n_samples is None else n_samples / rate)


@pytest.mark.parametrize("rate", [8_000, SAMPLE_RATE, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [3, 7.77])
def test_declared_length_is_that_of_the_samples(rate: int, seconds: float) -> None:
    data = ffmpeg_encoded(siren(seconds, rate), "mp3", "libmp3lame", rate)
    assert mp3_declared_s(io.BytesIO(data)) == pytest.approx(seconds, abs=0.001)


def variable(seconds: float, rate: int = 44_100) -> bytes:
    """An MP3 of a variable bit rate, whose first frame has another than most."""
    samples = siren(seconds, rate)
    samples[: len(samples) // 4] *= 0.001
    codec_options = {"q": "2", "global_quality": "236"}
    return ffmpeg_encoded(samples, "mp3", "libmp3lame", rate, codec_options=codec_options, bit_rate=None)


JOINED = {
    "variable": lambda: variable(8) + variable(5),
    "constant": lambda: ffmpeg_encoded(siren(5), "mp3", "libmp3lame", SAMPLE_RATE) * 2,
    "libsndfile": lambda: encoded(siren(5), SAMPLE_RATE, "MP3", "MPEG_LAYER_III") + variable(8),
    "with tags": lambda: variable(8) + b"TAG" + bytes(125) + TAG + variable(5),
    "zeros": lambda: variable(13) + bytes(300_000),
    "constant, zeros": lambda: ffmpeg_encoded(siren(13), "mp3", "libmp3lame", SAMPLE_RATE) + bytes(300_000),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_and_padded_files_are_complete(name: str) -> None:
    decoder, _ = decoded(JOINED[name]())
    assert decoder.decoded_s == pytest.approx(10 if name == "constant" else 13, abs=0.2)
    assert condition_of(decoder) == INTACT


def test_files_that_were_cut_before_they_were_padded_are_truncated() -> None:
    data = variable(13)
    decoder, _ = decoded(data[: len(data) // 2] + bytes(len(data)))
    assert decoder.decoded_s < 12
    assert condition_of(decoder).truncated
