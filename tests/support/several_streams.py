"""Files with several audio streams, such as films and screen recordings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.stream import VideoStream

from model.interface import SAMPLE_RATE, Samples

CODECS = {
    "matroska": "flac",
    "mov": "pcm_s16le",
    "mp4": "aac",
    "mpegts": "mp2",
    "avi": "pcm_s16le",
    "nut": "pcm_s16le",
}
"""A codec for each container, by FFmpeg's names."""

FORMATS = {"flac": "s16", "pcm_s16le": "s16", "aac": "fltp", "mp2": "s16"}
FRAME = 1024


class Sound(NamedTuple):
    """An audio stream: float32[n] at 16 kHz, and what the file says of it."""

    samples: Samples
    language: str | None = None
    title: str | None = None
    disposition: Disposition = Disposition(0)


def silence(seconds: float) -> Samples:
    """Digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def several_streams(sounds: Sequence[Sound], fmt: str = "matroska", video_s: int = 0) -> bytes:
    """Encodes a file with an audio stream for each sound, behind black pictures, one per second."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as container:
        packets = _pictures(container, video_s) if video_s else []
        for sound in sounds:
            stream = container.add_stream(CODECS[fmt], rate=SAMPLE_RATE, layout="mono")
            assert isinstance(stream, AudioStream)
            stream.format = FORMATS[CODECS[fmt]]
            stream.disposition = sound.disposition
            tags = {"language": sound.language, "title": sound.title}
            stream.metadata.update({name: text for name, text in tags.items() if text is not None})
            packets += _encoded(stream, sound.samples)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            container.mux(packet)
    return file.getvalue()


def _encoded(stream: AudioStream, samples: Samples) -> list[av.Packet[Any]]:
    whole = np.round(samples * 32_767).astype(np.int16)
    packets = []
    for start in range(0, len(whole), FRAME):
        chunk = np.ascontiguousarray(whole[None, start : start + FRAME])
        frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _pictures(container: av.container.OutputContainer, seconds: int) -> list[av.Packet[Any]]:
    stream = container.add_stream("mpeg4", rate=1)
    assert isinstance(stream, VideoStream)
    stream.width = stream.height = 16
    frames = [av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8)) for _ in range(seconds)]
    return [packet for frame in [*frames, None] for packet in stream.encode(frame)]
