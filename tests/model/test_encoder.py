import jax.numpy as jnp
import pytest

from model.config import WhisperConfig
from tests.support.decode_helpers import random_whisper


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_encoder_returns_a_vector_every_20_ms(n_mels: int) -> None:
    config = WhisperConfig(n_mels, 32, 64, 1, 2, 1, 2, 300)
    network = random_whisper(config)
    assert network.encoder(jnp.zeros((2, n_mels, 3000))).shape == (2, 1500, 32)
