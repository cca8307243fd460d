from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from model.interface import Samples
from tests.support.encoding import siren, speechlike
from transforms.audio.downmix import MAX_AMPLITUDE, to_mono, values_of

VOICE = speechlike(1, seed=1)
OTHER = siren(1)
NOISE = np.random.default_rng(3).standard_normal((5, 16_000)).astype(np.float32)


def mono(*channels: Samples, channel: int | None = None) -> Samples:
    return to_mono(np.stack(channels), channel).samples


@pytest.mark.parametrize(
    ("dtype", "low", "middle"),
    [(np.uint8, 0, 128), (np.int16, -(2**15), 0), (np.int32, -(2**31), 0), (np.int64, -(2**63), 0)],
)
def test_integers_have_full_scale_one(dtype: type, low: int, middle: int) -> None:
    found = to_mono(np.array([[low, middle, (low + middle) // 2]], dtype), None)
    assert found.samples.tolist() == [-1.0, 0.0, -0.5]
    assert found.samples.dtype == np.float32
    assert (found.n_invalid, found.has_valid, found.is_cancelled) == (0, True, False)


def test_mean_of_all_or_a_single_channel() -> None:
    np.testing.assert_allclose(mono(VOICE, OTHER), (VOICE + OTHER) / 2, atol=1e-7)
    np.testing.assert_array_equal(mono(VOICE, OTHER, channel=0), VOICE)
    np.testing.assert_array_equal(mono(VOICE, OTHER, channel=1), OTHER)


def test_missing_channel_is_silent_without_valid_samples() -> None:
    found = to_mono(np.stack([VOICE, OTHER]), 2)
    assert not found.samples.any()
    assert len(found.samples) == len(VOICE)
    assert not found.has_valid


@pytest.mark.parametrize("gain", [0.99, 0.9, 0.6])
def test_loudest_of_cancelling_channels_is_used(gain: float) -> None:
    found = to_mono(np.stack([VOICE * gain, -VOICE]), None)
    np.testing.assert_array_equal(found.samples, -VOICE)
    assert found.is_cancelled


def test_cancelling_channels_are_detected_in_noise() -> None:
    rms = float(np.sqrt(np.mean(VOICE**2)))
    found = to_mono(np.stack([VOICE, -VOICE]) + NOISE[:2] * rms * 0.3, None)
    assert found.is_cancelled


@pytest.mark.parametrize(
    "channels",
    [
        [VOICE, VOICE], [VOICE, np.zeros_like(VOICE)], [VOICE, -0.2 * VOICE], [NOISE[0], NOISE[1]],
        list(NOISE), [np.zeros_like(VOICE)] * 2, [VOICE, *NOISE[:3] * 0.01], [VOICE, -0.5 * VOICE + NOISE[0]],
    ],
)  # fmt: skip
def test_other_channels_are_averaged(channels: list[Samples]) -> None:
    found = to_mono(np.stack(channels), None)
    assert not found.is_cancelled
    np.testing.assert_allclose(found.samples, np.mean(channels, axis=0), atol=1e-6)


@pytest.mark.parametrize("invalid", [np.nan, np.inf, -np.inf, 1e300, -2 * MAX_AMPLITUDE])
def test_invalid_samples_become_silence_and_are_counted(invalid: float) -> None:
    values: NDArray[np.float64] = np.stack([VOICE, VOICE]).astype(np.float64)
    values[1, 100:103] = invalid
    found = to_mono(values, None)
    assert (found.n_invalid, found.has_valid) == (3, True)
    np.testing.assert_allclose(found.samples[100:103], VOICE[100:103] / 2, atol=1e-7)
    np.testing.assert_allclose(found.samples[103:], VOICE[103:], atol=1e-7)
    assert to_mono(values, 0).n_invalid == 0
    assert to_mono(values[1:, 100:103], None).has_valid is False


def test_values_of_a_frame_are_not_modified() -> None:
    values = np.array([[np.nan, 1.0]], np.float32)
    to_mono(values, None)
    assert np.isnan(values[0, 0])


@pytest.mark.parametrize("sample_format", ["u8", "s16", "s16p", "s32", "fltp", "dbl"])
def test_interleaved_and_planar_frames(sample_format: str) -> None:
    planar = sample_format.endswith("p")
    dtype = {"u8": "u1", "s16": "i2", "s16p": "i2", "s32": "i4", "fltp": "f4", "dbl": "f8"}[sample_format]
    channels = np.arange(6).reshape(2, 3).astype(dtype)
    stored = channels if planar else channels.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stored), format=sample_format, layout="stereo")
    np.testing.assert_array_equal(values_of(frame), channels)


@pytest.mark.parametrize("sample_format", ["s64", "s64p"])
def test_frames_of_64_bit_integers(sample_format: str) -> None:
    frame = av.AudioFrame(format=sample_format, layout="stereo", samples=3)
    channels = np.array([[1 << 40, -(1 << 62), 3], [4, 5, 6]])
    stored = list(channels) if sample_format == "s64p" else [channels.T.reshape(-1)]
    for plane, values in zip(frame.planes, stored, strict=True):
        plane.update(values.tobytes().ljust(plane.buffer_size, b"\0"))
    np.testing.assert_array_equal(values_of(frame), channels)
