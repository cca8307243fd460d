"""Seeks in uncompressed files, the only ones in which a byte offset is an exact time."""

from __future__ import annotations

from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from transforms.audio.ffmpeg import MAX_DURATION_S, audio_stream, open_container

FORMATS = ("aiff", "au", "caf", "w64", "wav")  # FFmpeg's names; "wav" includes RF64


class _Packet(NamedTuple):
    """A packet's start and length, in samples, and its offset and size, in bytes."""

    start: int | None
    n_samples: int
    offset: int | None
    n_bytes: int


def exact_position(file: BinaryIO, time_s: int) -> int:
    """Returns the position, in samples, of the last seekable packet that starts at a time or before it.

    It is a whole number of packets from the start, so that all packets from there on are those of a decoder
    that starts at 0. Returns 0 if only decoding from the start is exact.

    Raises:
        AudioError: the file is not audio, or too damaged to open.
    """
    if not time_s or time_s > MAX_DURATION_S:
        return 0
    with open_container(file) as container:
        if container.format.name not in FORMATS:  # of several streams, the first may be unreadable
            return 0
        stream = audio_stream(container)
        if not is_seekable(container, stream):
            return 0
        try:
            return _seek(container, stream, time_s)
        except (av.FFmpegError, OSError, StopIteration):  # decoding from the start will report what is wrong
            return 0


def is_seekable(container: InputContainer, stream: AudioStream) -> bool:
    """Whether a stream is uncompressed, in a format in which a byte offset may be an exact time."""
    return container.format.name in FORMATS and stream.codec_context.name.startswith("pcm_")


def _seek(container: InputContainer, stream: AudioStream, time_s: int) -> int:
    rate = stream.codec_context.sample_rate
    first = _next_packet(container, stream)
    if first.start != 0 or first.offset is None or stream.time_base != Fraction(1, rate):
        return 0
    sample_bytes, rest = divmod(first.n_bytes, first.n_samples)
    position = time_s * rate // first.n_samples * first.n_samples
    container.seek(position, stream=stream)
    found = _next_packet(container, stream)
    is_exact = (found.start, found.offset) == (position, first.offset + position * sample_bytes)
    return position if is_exact and not rest else 0


def _next_packet(container: InputContainer, stream: AudioStream) -> _Packet:
    packet = next(container.demux(stream))
    frame = next(iter(packet.decode()))
    return _Packet(frame.pts, frame.samples, packet.pos, packet.size)
