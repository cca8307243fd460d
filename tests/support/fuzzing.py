"""Damages small files of every format at random, and decodes them with the checks that must always hold."""

from __future__ import annotations

import io
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.support.detectors import LoudnessDetector
from tests.support.encoding import condition_of, encoded, ffmpeg_encoded, siren, video
from tests.support.several_streams import CODECS, Sound, several_streams, silence
from tests.support.timed_files import late, remuxed, surround
from transforms.audio.decoder import AudioDecoder
from transforms.core.errors import AudioError

HEADER = 200  # bytes; every other change falls into them, where damage has the most effect
KINDS = ("flip", "put", "cut", "drop", "insert", "repeat", "move")
MAX_S = 5.0  # to decode a file of a few kB


class Change(NamedTuple):
    """One change to a file.

    Attributes:
        kind: one of `KINDS`.
        at: position, as a fraction of the header or of the file.
        in_header: `at` is a fraction of the header.
        n_bytes: bytes changed.
        content: bytes that are put or inserted.
    """

    kind: str
    at: float
    in_header: bool
    n_bytes: int
    content: bytes


CHANGES = st.builds(
    Change,
    st.sampled_from(KINDS),
    st.floats(0, 1),
    st.booleans(),
    st.one_of(st.integers(1, 8), st.integers(1, 2000)),
    st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 4), st.just(b"\0" * 8)),
)
"""All changes, for Hypothesis."""


def changed(data: bytes, changes: list[Change]) -> bytes:
    """Applies all changes, one after the other."""
    for change in changes:
        position = int(change.at * min(len(data), HEADER if change.in_header else len(data)))
        before, hit, after = (
            data[:position],
            data[position : position + change.n_bytes],
            data[position + change.n_bytes :],
        )
        content = change.content
        data = {
            "flip": before + bytes(byte ^ 1 << change.n_bytes % 8 for byte in hit) + after,
            "put": before + content + data[position + len(content) :],
            "cut": before,
            "drop": before + after,
            "insert": before + content + hit + after,
            "repeat": before + hit * 3 + after,
            "move": after + hit + before,
        }[change.kind]
    return data


def random_change(random: Random) -> Change:
    """Draws a change at random."""
    content = random.choice(
        [random.randbytes(random.randint(1, 8)), b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff"]
    )
    n_bytes = random.choice([1, 2, 4, random.randint(1, 2000)])
    return Change(random.choice(KINDS), random.random(), random.random() < 0.5, n_bytes, content)


@cache
def small_files() -> dict[str, bytes]:
    """Files of 0.2 s in many formats, by name."""
    libsndfile = {
        f"{fmt} {subtype}": encoded(siren(0.2), 16_000, fmt, subtype)
        for fmt, subtype in [
            ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("W64", "PCM_24"), ("RF64", "PCM_16"),
            ("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "ULAW"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"),
            ("FLAC", "PCM_16"), ("NIST", "PCM_16"), ("SVX", "PCM_16"), ("VOC", "PCM_16"), ("OGG", "VORBIS"),
            ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
        ]
    }  # fmt: skip
    ffmpeg = {
        f"{fmt} {codec}": ffmpeg_encoded(siren(0.2, rate), fmt, codec, rate, bit_rate=bit_rate)
        for fmt, codec, rate, bit_rate in [
            *[(fmt, "aac", 48_000, 64_000) for fmt in ("ipod", "adts", "matroska", "flv", "mpegts", "ismv")],
            ("ipod", "alac", 44_100, None), ("mp4", "flac", 48_000, None), ("mov", "pcm_s16le", 16_000, None),
            ("ogg", "flac", 44_100, None), ("wv", "wavpack", 44_100, None), ("tta", "tta", 44_100, None),
            ("ircam", "pcm_s16le", 16_000, None), ("amr", "libopencore_amrnb", 8_000, 12_200),
            ("webm", "libopus", 48_000, 64_000), ("mp2", "mp2", 44_100, 64_000),
            ("mpeg", "mp2", 48_000, 64_000), ("ac3", "ac3", 48_000, 64_000), ("asf", "wmav2", 44_100, 64_000),
            ("avi", "libmp3lame", 44_100, 64_000), ("nut", "libopus", 48_000, 64_000),
            ("rm", "ac3", 44_100, 64_000),
        ]
    }  # fmt: skip
    timed = {
        f"{fmt} {codec}, late": remuxed(siren(0.2, rate), fmt, codec, rate, shift_s=late(1), video_s=2)
        for fmt, codec, rate in [
            ("mp4", "aac", 16_000), ("matroska", "pcm_u8", 16_000), ("mpegts", "aac", 48_000),
            ("mxf", "pcm_s16le", 48_000),
        ]
    }  # fmt: skip
    centre = [siren(0.2, 48_000)] * 6
    others = {
        "matroska video": video(2, siren(0.2, 48_000)),
        "ac3 5.1": surround(centre, "5.1", "ac3", "ac3"),
        "flac 5.1": surround(centre, "5.1", "flac", "flac"),
        "gsm": b"".join(b"\xd8" + bytes(range(number, number + 32)) for number in range(20)),
    }
    several = {
        f"{fmt} {codec}, several streams": several_streams([Sound(silence(0.2)), Sound(siren(0.2))], fmt)
        for fmt, codec in CODECS.items()
    }
    return {**libsndfile, **ffmpeg, **timed, **others, **several}


def outcome(data: bytes, channel: int | None = None) -> str:
    """Decodes a file; returns `decoded`, `truncated`, or the kind of its error.

    Raises:
        AssertionError: a block breaks the contract of `AudioDecoder.blocks`.
    """
    decoder = AudioDecoder(io.BytesIO(data), channel, make_detector=LoudnessDetector)
    try:
        for block in decoder.blocks():
            assert block.dtype == np.float32
            assert block.ndim == 1
            assert len(block)
            assert np.isfinite(block).all()
    except AudioError as error:
        return error.kind
    condition = condition_of(decoder)
    assert condition.problem or not condition.truncated
    return "truncated" if condition.truncated else "decoded"
