"""Synthetic recordings, encoded in every format available here, and damaged; decoding them for assertions."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import soundfile as sf
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.decoder import AudioDecoder
from transforms.core.recording_parts import truncated_and_problem


def speechlike(seconds: float, rate: int = SAMPLE_RATE, seed: int = 0) -> Samples:
    """A tone in noise: float32[seconds * rate], well below full scale."""
    n = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(n) * 0.01
    return np.asarray(0.3 * np.sin(2 * np.pi * 220 * np.arange(n) / rate) + noise, np.float32)


def siren(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
    """A tone of changing pitch and loudness: no two moments are alike, and any codec preserves it."""
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 * t + 40 * np.sin(2 * np.pi * 0.7 * t)))
    return np.asarray(0.3 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)), np.float32)


def encoded(samples: Samples, rate: int = SAMPLE_RATE, fmt: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """Encodes float[n], or float[n, channels], with libsndfile."""
    file = io.BytesIO()
    sf.write(file, samples, rate, format=fmt, subtype=subtype)
    return file.getvalue()


def ffmpeg_encoded(
    samples: Samples,
    fmt: str,
    codec: str,
    rate: int = 48_000,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    bit_rate: int | None = 64_000,
) -> bytes:
    """Encodes float32[n] with FFmpeg, in frames of 1,024 samples."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", options=codec_options or {})
        assert isinstance(stream, AudioStream)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        for start in range(0, len(samples), 1024):
            chunk = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def video(seconds: int, audio: Samples | None = None) -> bytes:
    """Encodes a Matroska file of black pictures, one per second, with or without audio at 48 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        pictures = container.add_stream("mpeg4", rate=1)
        assert isinstance(pictures, VideoStream)
        pictures.width = pictures.height = 16
        if audio is not None:
            opus = container.add_stream("libopus", rate=48_000, layout="mono")
            assert isinstance(opus, AudioStream)
            frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux([*opus.encode(frame), *opus.encode(None)])
        for _ in range(seconds):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        container.mux(pictures.encode(None))
    return file.getvalue()


def decoded(data: bytes, channel: int | None = None) -> tuple[AudioDecoder, Samples]:
    """Decodes a file; returns the exhausted decoder and all samples."""
    decoder = AudioDecoder(io.BytesIO(data), channel)
    blocks = list(decoder.blocks())
    assert all(len(block) for block in blocks)
    return decoder, np.concatenate(blocks)


class Condition(NamedTuple):
    """The `truncated` and `problem` of a row."""

    truncated: bool
    problem: str | None


INTACT = Condition(False, None)


def condition_of(decoder: AudioDecoder, start_s: int = 0) -> Condition:
    """The condition of a recording that was decoded from `start_s` to its end, as its row reports it."""
    damage = decoder.damage(start_s, None)
    return Condition(*truncated_and_problem(damage, decoder.declared_s, decoder.decoded_s))


def patched(data: bytes, offset: int, fmt: str, value: float) -> bytes:
    """Replaces the bytes at an offset by a number, packed in a format of `struct`."""
    packed = struct.pack(fmt, value)
    return data[:offset] + packed + data[offset + len(packed) :]


def flipped(data: bytes, n_bytes: int = 100) -> bytes:
    """Flips bits in the middle of a file."""
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0x5A for b in data[middle : middle + n_bytes]) + data[middle + n_bytes :]
