from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from model.interface import WINDOW_SAMPLES
from model.log_mel import log_mel, mel_filters

SPEECH = Path("../shared/data/english/jfk.flac")


def ours(samples: NDArray[np.float32], n_mels: int) -> NDArray[np.float32]:
    padded = np.zeros((1, WINDOW_SAMPLES), np.float32)
    padded[0, : len(samples)] = samples
    return np.asarray(jax.jit(log_mel, static_argnums=1)(jnp.asarray(padded), n_mels))[0]


def theirs(samples: NDArray[np.float32], n_mels: int) -> NDArray[np.float32]:
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    features = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    return np.asarray(features, np.float32)


def chirp(seconds: float) -> NDArray[np.float32]:
    time = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(time)) * 1e-2
    return (0.5 * np.sin(2 * np.pi * (100 + 200 * time) * time) + noise).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_match_transformers(n_mels: int) -> None:
    expected = mel_filter_bank(201, n_mels, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(n_mels), expected, atol=1e-8)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0])
def test_log_mel_matches_transformers(n_mels: int, seconds: float) -> None:
    samples = chirp(seconds)
    np.testing.assert_allclose(ours(samples, n_mels), theirs(samples, n_mels), atol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_log_mel_of_real_speech_matches_transformers(n_mels: int) -> None:
    if not SPEECH.exists():
        pytest.skip(f"{SPEECH} is not here")
    audio, rate = sf.read(SPEECH, dtype="float32", always_2d=True)
    samples = soxr.resample(audio.mean(axis=1), rate, 16_000).astype(np.float32)[:WINDOW_SAMPLES]
    np.testing.assert_allclose(ours(samples, n_mels), theirs(samples, n_mels), atol=1e-4)


def test_the_floor_is_per_window() -> None:
    batch = np.zeros((2, WINDOW_SAMPLES), np.float32)
    batch[0, :16_000], batch[1, :16_000] = chirp(1.0), 0.01 * chirp(1.0)
    together = np.asarray(log_mel(jnp.asarray(batch), 80))
    np.testing.assert_allclose(together[1], ours(batch[1], 80), atol=1e-5)


def test_short_samples_have_the_frames_of_long_ones() -> None:
    samples = chirp(1.92)
    short = np.asarray(log_mel(jnp.asarray(samples[None]), 80))[0]
    assert short.shape == (80, 192)
    # The last two frames reach over the end, which is reflected here and silent there.
    np.testing.assert_allclose(short[:, :-2], ours(samples, 80)[:, :190], atol=1e-4)


@pytest.mark.parametrize("n_samples", [0, 160, 481])
def test_part_of_an_encoder_position_raises(n_samples: int) -> None:
    with pytest.raises(ValueError, match=f"{n_samples} samples are not a positive multiple of 320"):
        log_mel(jnp.zeros((1, n_samples)), 80)
