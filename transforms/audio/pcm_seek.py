"""Where else than at its start a file may be read exactly: uncompressed samples, where a byte is a time."""

from __future__ import annotations

from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from transforms.audio.ffmpeg import audio_stream, open_container

FORMATS = ("aiff", "au", "caf", "w64", "wav")  # FFmpeg's names; "wav" is RF64 as well


class _Packet(NamedTuple):
    """What a packet says of itself: its time and place, in samples and bytes, and how much it holds."""

    start: int | None
    n_samples: int
    position: int | None
    n_bytes: int


def exact_place(file: BinaryIO, time_s: int) -> int:
    """The place of the last packet, in samples, that begins at a time or before it, and can be sought.

    It is a whole number of packets from the start, so that all packets from there on are those that a reader
    from the start gets. 0 where nothing but decoding from the start is exact.

    Raises:
        AudioError: it is no audio, or too damaged to begin with.
    """
    if not time_s:
        return 0
    with open_container(file) as container:
        stream = audio_stream(container)
        if container.format.name not in FORMATS or not stream.codec_context.name.startswith("pcm_"):
            return 0
        try:
            return _sought(container, stream, time_s)
        except (av.FFmpegError, OSError, StopIteration):  # the reader from the start will say what is wrong
            return 0


def _sought(container: InputContainer, stream: AudioStream, time_s: int) -> int:
    rate = stream.codec_context.sample_rate
    first = _next_packet(container, stream)
    if first.start != 0 or first.position is None or stream.time_base != Fraction(1, rate):
        return 0
    sample_bytes, rest = divmod(first.n_bytes, first.n_samples)
    place = time_s * rate // first.n_samples * first.n_samples
    container.seek(place, stream=stream)
    found = _next_packet(container, stream)
    is_exact = (found.start, found.position) == (place, first.position + place * sample_bytes)
    return place if is_exact and not rest else 0


def _next_packet(container: InputContainer, stream: AudioStream) -> _Packet:
    packet = next(container.demux(stream))
    frame = next(iter(packet.decode()))
    return _Packet(frame.pts, frame.samples, packet.pos, packet.size)
