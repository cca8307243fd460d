"""Small files that last for hours, or that decompress to much."""

from __future__ import annotations

import gzip
import io
import zipfile
from fractions import Fraction

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream

from model.interface import SAMPLE_RATE
from tests.support.encoding import siren

_OPUS_RATE = 48_000
_FRAME = 2_880  # samples; 60 ms
_LOOP_S = 6


def long_opus(seconds: float, bit_rate: int = 6_000) -> bytes:
    """Ogg Opus that repeats six seconds of a tone: 25 MB for 9 hours, made in a few seconds."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        options = {"frame_duration": "60", "application": "voip", "vbr": "off"}
        stream = container.add_stream("libopus", rate=_OPUS_RATE, layout="mono", options=options)
        assert isinstance(stream, AudioStream)
        stream.bit_rate = bit_rate
        packets = _packets(stream)
        for number in range(round(seconds * _OPUS_RATE / _FRAME)):
            packet = av.Packet(packets[number % len(packets)])
            packet.pts = packet.dts = number * _FRAME
            packet.time_base, packet.duration, packet.stream = Fraction(1, _OPUS_RATE), _FRAME, stream
            container.mux(packet)
    return file.getvalue()


def _packets(stream: AudioStream) -> list[bytes]:
    samples, packets = siren(_LOOP_S, _OPUS_RATE), []
    for start in range(0, len(samples), _FRAME):
        block = np.ascontiguousarray(samples[None, start : start + _FRAME])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _OPUS_RATE, start, Fraction(1, _OPUS_RATE)
        packets += [bytes(packet) for packet in stream.encode(frame)]
    return packets


def long_silence(seconds: int) -> bytes:
    """FLAC of digital silence: a thousandth of its samples' size."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as written:
        block = np.zeros(60 * SAMPLE_RATE, np.int16)
        for _ in range(seconds // 60):
            written.write(block)
    return file.getvalue()


def zipped(n_bytes: int) -> bytes:
    """A zip archive of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("talk.wav", bytes(n_bytes))
    return file.getvalue()


def gzipped(n_bytes: int) -> bytes:
    """Zeros, compressed with gzip."""
    return gzip.compress(bytes(n_bytes))
