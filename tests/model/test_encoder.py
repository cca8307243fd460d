import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import WhisperConfig
from tests.support.decode_helpers import random_whisper


def config_of(n_mels: int) -> WhisperConfig:
    return WhisperConfig(n_mels, 32, 64, 1, 2, 1, 2, 300)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_encoder_returns_a_vector_every_20_ms(n_mels: int) -> None:
    network = random_whisper(config_of(n_mels))
    for n_frames in (3000, 1862, 2):
        assert network.encoder(jnp.zeros((2, n_mels, n_frames))).shape == (2, n_frames // 2, 32)


def test_short_inputs_have_the_first_positions() -> None:
    encoder = random_whisper(config_of(80)).encoder
    frames = jax.random.normal(jax.random.key(0), (1, 80, 600))
    short = encoder(frames)
    positions = encoder.positions[...]
    encoder.positions[...] = positions.at[300:].set(jnp.nan)
    np.testing.assert_array_equal(encoder(frames), short)
    encoder.positions[...] = positions.at[299].add(1)
    assert (encoder(frames)[:, 299] != short[:, 299]).any()


@pytest.mark.parametrize("n_frames", [0, 599, 3002])
def test_a_length_that_does_not_fit_raises(n_frames: int) -> None:
    encoder = random_whisper(config_of(80)).encoder
    with pytest.raises(ValueError, match=f"{n_frames} frames: an even number up to 3000"):
        encoder(jnp.zeros((1, 80, n_frames)))
