from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import LoudnessDetector
from tests.support.encoding import ffmpeg_encoded, siren, speechlike
from transforms.audio.ffmpeg import MAX_RATE, MIN_RATE, audio_stream
from transforms.audio.sound_meter import MIN_SPEECH_S, SILENCE_LEVEL, MakeDetector, SoundMeter


def metered(
    samples: Samples, rate: int = SAMPLE_RATE, detector: MakeDetector | None = LoudnessDetector
) -> SoundMeter:
    """A meter that was fed all packets of a FLAC file."""
    data = ffmpeg_encoded(samples, "flac", "flac", rate, bit_rate=None)
    with av.open(io.BytesIO(data), "r") as container:
        meter = SoundMeter(audio_stream(container), detector)
        for packet in container.demux(meter.stream):
            meter.feed(packet)
        meter.finish()
    return meter


def test_digital_silence_is_no_sound() -> None:
    meter = metered(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert (meter.read_s, meter.sound_s, meter.speech_s) == (pytest.approx(3), 0, 0)
    assert not meter.has_sound
    assert not meter.has_speech


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_seconds_of_sound_and_speech(rate: int) -> None:
    meter = metered(np.concatenate([np.zeros(2 * rate, np.float32), speechlike(2.5, rate)]), rate)
    assert (meter.read_s, meter.sound_s) == (pytest.approx(4.5, abs=0.2), pytest.approx(2.5, abs=0.2))
    assert meter.speech_s == pytest.approx(2.5, abs=0.2)
    assert meter.has_sound
    assert meter.has_speech


def test_dither_and_a_click_are_no_sound() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 3 * SAMPLE_RATE).astype(np.float32) * 2**-15
    assert SILENCE_LEVEL > 2**-15
    assert metered(samples).sound_s == 0
    samples[SAMPLE_RATE] = 0.5
    assert 0 < metered(samples).sound_s < 0.2
    assert not metered(samples).has_sound


def test_quiet_sound_is_sound_and_less_than_a_word_is_no_speech() -> None:
    assert metered(siren(2) * np.float32(0.003)).has_sound
    meter = metered(np.concatenate([siren(0.3), np.zeros(SAMPLE_RATE, np.float32)]))
    assert 0 < meter.speech_s < MIN_SPEECH_S
    assert not meter.has_speech


def test_without_a_detector_there_is_no_speech() -> None:
    meter = metered(siren(2), detector=None)
    assert (meter.has_sound, meter.speech_s) == (True, 0)


@pytest.mark.parametrize("rate", [0, 1, MIN_RATE - 1, MAX_RATE + 1, 2**31 - 1])
def test_rates_that_are_not_read_are_no_sound(rate: int) -> None:
    """At 1 Hz, a packet would last for hours, and need gigabytes at 16 kHz."""
    data = ffmpeg_encoded(siren(1), "flac", "flac", SAMPLE_RATE, bit_rate=None)
    with av.open(io.BytesIO(data), "r") as container:
        meter = SoundMeter(audio_stream(container), LoudnessDetector)
        frame = next(container.decode(meter.stream))
        frame.sample_rate = rate
        meter.feed(cast(Any, SimpleNamespace(decode=lambda: [frame])))
    assert (meter.read_s, meter.sound_s) == (0, 0)
