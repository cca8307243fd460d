"""Measures how much sound and speech an audio stream has, as far as it is read."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.audio.downmix import mix_weights, to_mono, values_of
from transforms.audio.ffmpeg import MAX_RATE, MIN_RATE

MakeDetector = Callable[[], SpeechDetector]

SILENCE_LEVEL = 1e-4
"""RMS of a frame, of full scale 1, up to which it is silent: -80 dB; dither of 16 bits has less."""

MIN_SOUND_S = 0.2
"""Seconds of frames that are not silent, from which on a stream has sound: a click is none."""

MIN_SPEECH_S = 0.5
"""Seconds of speech from which on a stream has speech: less may be an error of the detector."""

BLOCK_S = 4
"""Seconds in which speech is detected together."""

SPEECH_THRESHOLD = 0.5
"""Probability of speech in a chunk, from which on it counts."""


class SoundMeter:
    """Counts the seconds of an audio stream that are not silent, and those that are speech.

    Args:
        stream: the stream, ready to be decoded.
        make_detector: returns a detector of a new stream; None to count no speech.

    Attributes:
        read_s: seconds that were decoded.
        sound_s: seconds of frames that are not silent.
        speech_s: seconds of speech.
    """

    def __init__(self, stream: AudioStream, make_detector: MakeDetector | None = None) -> None:
        self.stream = stream
        self.read_s = self.sound_s = self.speech_s = 0.0
        self._make_detector = make_detector
        self._detector: SpeechDetector | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._rate = 0
        self._buffered: list[Samples] = []
        self._n_buffered = 0

    @property
    def has_sound(self) -> bool:
        """Whether the stream has sound."""
        return self.sound_s >= MIN_SOUND_S

    @property
    def has_speech(self) -> bool:
        """Whether the stream has speech."""
        return self.speech_s >= MIN_SPEECH_S

    def feed(self, packet: Packet[AudioStream], *, detect: bool = True) -> None:
        """Decodes a packet; one that is damaged, or of a rate that is not read, counts as nothing.

        Args:
            packet: the next packet of the stream.
            detect: whether speech is detected in it.
        """
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            if MIN_RATE <= frame.sample_rate <= MAX_RATE:
                self._add(frame, detect=detect)

    def finish(self) -> None:
        """Counts what is left of the speech, once there are no more packets."""
        if self._n_buffered:
            self._detect()
        if self._detector is not None:
            self._count(self._detector.finish())
            self._detector = None

    def _add(self, frame: AudioFrame, *, detect: bool) -> None:
        duration_s = frame.samples / frame.sample_rate
        self.read_s += duration_s
        if self.has_sound and not detect:
            return
        mono = _mono(frame)
        is_silent = mono @ mono <= SILENCE_LEVEL**2 * len(mono)
        self.sound_s += 0.0 if is_silent else duration_s
        if detect and self._make_detector is not None and (self._buffered or not is_silent):
            self._buffer(mono, frame.sample_rate)

    def _buffer(self, mono: Samples, rate: int) -> None:
        """Collects some seconds from the first sound on: the detector is slow on short blocks."""
        if self._detector is None or rate != self._rate:
            self._start(rate)
        self._buffered.append(mono)
        self._n_buffered += len(mono)
        if self._n_buffered >= BLOCK_S * rate:
            self._detect()

    def _start(self, rate: int) -> None:
        self.finish()
        self._rate = rate
        self._detector = self._make_detector() if self._make_detector else None
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="LQ")

    def _detect(self) -> None:
        block, self._buffered, self._n_buffered = np.concatenate(self._buffered), [], 0
        if self._detector is None or self._resampler is None:
            return
        if self._rate != SAMPLE_RATE:
            block = self._resampler.resample_chunk(block)
        self._count(self._detector(block))

    def _count(self, probabilities: NDArray[np.float32]) -> None:
        self.speech_s += int((probabilities >= SPEECH_THRESHOLD).sum()) * SPEECH_CHUNK / SAMPLE_RATE


def _mono(frame: AudioFrame) -> Samples:
    values = values_of(frame)
    weights = mix_weights(frame.layout.name) if len(values) > 2 else None
    return to_mono(values, None, weights).samples
