"""Files whose presentation times are not those of samples laid end to end, and files in surround sound."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from model.interface import Samples
from tests.support.encoding import ffmpeg_encoded

PICTURES = {"flv": ("flv", 1), "mxf": ("mpeg2video", 25)}
"""Codec and pictures a second, for containers that do not take those of the others."""


def remuxed(
    samples: Samples,
    fmt: str,
    codec: str,
    rate: int = 16_000,
    *,
    shift_s: Callable[[float], float] = lambda time_s: 0.0,
    video_s: int = 0,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encodes samples, and writes the packets to a container with other times.

    Args:
        samples: float32[n].
        fmt: FFmpeg's name of the container.
        codec: FFmpeg's name of the codec.
        rate: sample rate in Hz.
        shift_s: seconds by which a packet is later than the samples are, by its time in them.
        video_s: seconds of pictures from 0 on, one per second; 0 for no pictures.
        options: of the container.
    """
    file = io.BytesIO()
    first = "asf" if codec.startswith("wma") else "matroska"
    encoded = io.BytesIO(
        ffmpeg_encoded(samples, first, codec, rate, bit_rate=96_000 if first == "asf" else None)
    )
    with av.open(encoded, "r") as source, av.open(file, "w", format=fmt, options=options or {}) as target:
        sound = source.streams.audio[0]
        video_codec, video_rate = PICTURES.get(fmt, ("mpeg4", 1))
        pictures = target.add_stream(video_codec, rate=video_rate) if video_s else None
        stream = target.add_stream_from_template(sound)
        packets = []
        if isinstance(pictures, VideoStream):
            pictures.width = pictures.height = 16
            black = np.zeros((16, 16, 3), np.uint8)
            frames = [av.VideoFrame.from_ndarray(black) for _ in range(video_s * video_rate)]
            packets = [packet for frame in [*frames, None] for packet in pictures.encode(frame)]
        for packet in source.demux(sound):
            if packet.pts is None or packet.dts is None:
                continue
            time_s = float(packet.pts * packet.time_base)
            ticks = round(shift_s(time_s) / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
            packets.append(packet)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            target.mux(packet)
    return file.getvalue()


def late(seconds: float) -> Callable[[float], float]:
    """All packets are later, as where the sound begins after the pictures."""
    return lambda time_s: seconds


def gap(at_s: float, seconds: float) -> Callable[[float], float]:
    """Packets from a time on are later, as where those between were lost."""
    return lambda time_s: seconds if time_s >= at_s else 0.0


def surround(channels: list[Samples], layout: str, fmt: str, codec: str, rate: int = 48_000) -> bytes:
    """Encodes float32[n] a channel, in the order of a layout of FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        interleaved = np.ascontiguousarray(np.stack(channels, axis=1).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()
