"""Recordings that tests make, encoded in every way that can be encoded here, and damaged."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import soundfile as sf
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.decoder import AudioReader


def speechlike(seconds: float, rate: int = SAMPLE_RATE, seed: int = 0) -> Samples:
    """A tone in noise: float32[seconds * rate], well inside full scale."""
    n = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(n) * 0.01
    return np.asarray(0.3 * np.sin(2 * np.pi * 220 * np.arange(n) / rate) + noise, np.float32)


def siren(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
    """A tone whose pitch and loudness change, so that no two moments are alike; any codec can hold it."""
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 * t + 40 * np.sin(2 * np.pi * 0.7 * t)))
    return np.asarray(0.3 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)), np.float32)


def encoded(samples: Samples, rate: int = SAMPLE_RATE, fmt: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """By libsndfile. Samples: float[n], or float[n, channels]."""
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
    """By FFmpeg, in frames of 1,024 samples. Samples: float32[n]."""
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


def video(seconds: int, sound: Samples | None = None) -> bytes:
    """Matroska: black pictures, a second each, and perhaps sound at 48 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        pictures = container.add_stream("mpeg4", rate=1)
        assert isinstance(pictures, VideoStream)
        pictures.width = pictures.height = 16
        if sound is not None:
            opus = container.add_stream("libopus", rate=48_000, layout="mono")
            assert isinstance(opus, AudioStream)
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux([*opus.encode(frame), *opus.encode(None)])
        for _ in range(seconds):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        container.mux(pictures.encode(None))
    return file.getvalue()


def decoded(data: bytes, channel: int | None = None) -> tuple[AudioReader, Samples]:
    """The reader at its end, and all of its samples."""
    reader = AudioReader(io.BytesIO(data), channel)
    blocks = list(reader.blocks())
    assert all(len(block) for block in blocks)
    return reader, np.concatenate(blocks)


def patched(data: bytes, offset: int, fmt: str, value: int) -> bytes:
    """With a number of `struct`'s format at an offset."""
    packed = struct.pack(fmt, value)
    return data[:offset] + packed + data[offset + len(packed) :]


def flipped(data: bytes, n_bytes: int = 100) -> bytes:
    """With bits turned in its middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0x5A for b in data[middle : middle + n_bytes]) + data[middle + n_bytes :]
