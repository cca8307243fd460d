"""Damage of every kind to small files of every kind, and what must hold of it whatever comes out."""

from __future__ import annotations

import io
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.support.encoding import encoded, ffmpeg_encoded, siren, video
from transforms.audio.decoder import AudioReader
from transforms.core.errors import AudioError

HEADER = 200  # bytes, which every other change falls into: there the damage is greatest
KINDS = ("flip", "put", "cut", "drop", "insert", "repeat", "move")
MOST_S = 5.0  # of time that a file of a few kB may take


class Change(NamedTuple):
    """One change to a file.

    Attributes:
        kind: one of `KINDS`.
        at: where, as a part of the header's bytes, or of the file's.
        in_header: which of the two.
        n_bytes: how many it touches.
        content: what is put there.
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
"""All that there are, for Hypothesis."""


def changed(data: bytes, changes: list[Change]) -> bytes:
    """The file after all changes, one after the other."""
    for change in changes:
        place = int(change.at * min(len(data), HEADER if change.in_header else len(data)))
        before, hit, after = (
            data[:place],
            data[place : place + change.n_bytes],
            data[place + change.n_bytes :],
        )
        content = change.content
        data = {
            "flip": before + bytes(byte ^ 1 << change.n_bytes % 8 for byte in hit) + after,
            "put": before + content + data[place + len(content) :],
            "cut": before,
            "drop": before + after,
            "insert": before + content + hit + after,
            "repeat": before + hit * 3 + after,
            "move": after + hit + before,
        }[change.kind]
    return data


def random_change(random: Random) -> Change:
    """One of all that there are."""
    content = random.choice(
        [random.randbytes(random.randint(1, 8)), b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff"]
    )
    n_bytes = random.choice([1, 2, 4, random.randint(1, 2000)])
    return Change(random.choice(KINDS), random.random(), random.random() < 0.5, n_bytes, content)


@cache
def small_files() -> dict[str, bytes]:
    """A fifth of a second in each of many formats, by their names."""
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
            ("avi", "libmp3lame", 44_100, 64_000),
        ]
    }  # fmt: skip
    return {**libsndfile, **ffmpeg, "matroska video": video(2, siren(0.2, 48_000))}


def outcome(data: bytes, channel: int | None = None) -> str:
    """What became of a file: `decoded`, `truncated`, or the kind of its error.

    Raises:
        AssertionError: blocks that are not what `AudioReader.blocks` promises.
    """
    reader = AudioReader(io.BytesIO(data), channel)
    try:
        for block in reader.blocks():
            assert block.dtype == np.float32
            assert block.ndim == 1
            assert len(block)
            assert np.isfinite(block).all()
    except AudioError as error:
        return error.kind
    assert reader.problem or not reader.truncated
    return "truncated" if reader.truncated else "decoded"
