from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from model.interface import Samples
from tests.support.encoding import decoded, siren, speechlike
from tests.support.timed_files import surround
from transforms.audio.downmix import MAX_AMPLITUDE, mix_weights, to_mono, values_of

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


LAYOUTS = [
    "2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "3.1", "5.0", "5.0(side)", "4.1", "5.1",
    "5.1(side)", "6.0", "6.0(front)", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)",
    "7.1", "7.1(wide)", "7.1(wide-side)", "octagonal", "5.1.2", "7.1.2",
]  # fmt: skip


def mixed_by_ffmpeg(channels: Samples, layout: str) -> Samples:
    """The mix that libswresample makes of float32[channels, n]: 32-bit integers, as it scales only these."""
    interleaved = np.ascontiguousarray(channels.T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
    frame.sample_rate = 16_000
    resampler = av.AudioResampler(format="s32", layout="mono", rate=16_000)
    found = np.concatenate([one.to_ndarray()[0] for one in resampler.resample(frame)])
    return np.asarray(found / 2.0**31, np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mix_is_that_of_ffmpeg(layout: str) -> None:
    n_channels = av.AudioLayout(layout).nb_channels
    channels = np.random.default_rng(0).uniform(-1, 1, (n_channels, 2_000)).astype(np.float32)
    weights = mix_weights(layout)
    assert weights is not None
    assert sum(weights) == pytest.approx(1)
    found = to_mono(channels, None, weights)
    assert not found.is_cancelled
    np.testing.assert_allclose(found.samples, mixed_by_ffmpeg(channels, layout), atol=1e-6)


@pytest.mark.parametrize(
    "layout",
    ["mono", "stereo", "downmix", "3 channels", "6 channels", "64 channels", "ambisonic 1", "no layout", ""],
)
def test_channels_without_known_places_are_averaged(layout: str) -> None:
    assert mix_weights(layout) is None


@pytest.mark.parametrize(("fmt", "codec"), [("ac3", "ac3"), ("wav", "pcm_s16le"), ("flac", "flac")])
def test_the_centre_is_louder_than_the_surrounds(fmt: str, codec: str) -> None:
    voice, noise = siren(1, 48_000), 0.1 * NOISE[:3].reshape(-1)
    rumble = np.sin(2 * np.pi * 45 * np.arange(48_000) / 48_000).astype(np.float32)
    data = surround([noise, noise, voice, rumble, noise, noise], "5.1", fmt, codec)
    _, found = decoded(data)
    assert np.abs(np.fft.rfft(found[:16_000]))[45] < 100  # a mean would have 1,333
    expected = siren(1)[:15_000]
    delays = (found[delay : delay + 15_000] for delay in range(100))  # AC-3 has one of 256 at 48 kHz
    level = max(np.dot(delayed, expected) for delayed in delays) / np.dot(expected, expected)
    assert level == pytest.approx(1 / (2 + 2**0.5), abs=0.03)


def test_weighted_channels_that_cancel_each_other() -> None:
    weights = mix_weights("3.0")
    assert not to_mono(np.stack([VOICE, VOICE, VOICE]), None, weights).is_cancelled
    silent = np.zeros_like(VOICE)
    assert not to_mono(np.stack([silent, silent, VOICE]), None, weights).is_cancelled
    assert not to_mono(np.stack([silent, silent, silent]), None, weights).is_cancelled
    found = to_mono(np.stack([-0.7 * VOICE, -0.7 * VOICE, VOICE]), None, weights)
    np.testing.assert_array_equal(found.samples, VOICE)
    assert found.is_cancelled


def test_invalid_samples_of_a_mix_become_silence() -> None:
    values = np.stack([VOICE, VOICE, VOICE])
    values[2, 5] = np.nan
    found = to_mono(values, None, mix_weights("3.0"))
    assert (found.n_invalid, found.has_valid) == (1, True)
    assert np.isfinite(found.samples).all()
