import jax.numpy as jnp
import numpy as np
import pytest

from model.config import WhisperConfig
from model.decoder import Slots
from model.precision import Precision
from tests.support.decode_helpers import random_whisper

CONFIG = WhisperConfig(80, 32, 64, 2, 2, 2, 2, 300)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("n_positions", [200, 1500])
def test_logits_are_float32_in_every_precision(dtype: jnp.dtype, n_positions: int) -> None:
    network = random_whisper(CONFIG, Precision(np.dtype(dtype)))
    encoded = network.encoder(jnp.zeros((1, 80, 2 * n_positions), dtype))
    assert (encoded.dtype, encoded.shape) == (dtype, (1, n_positions, 32))
    decoder = network.decoder
    mask, audible = jnp.arange(8) < jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, n_positions), bool)
    slots = Slots(jnp.asarray([0]), mask, audible)
    states, caches = decoder(
        jnp.asarray([[1]]), jnp.asarray([[0]]), slots, decoder.init_caches(1, 8), decoder.cross_kv(encoded)
    )
    assert (states.dtype, states.shape) == (dtype, (1, 1, 32))
    assert decoder.logits(states).dtype == jnp.float32
    assert decoder.logits(states).shape == (1, 1, 300)
    assert caches[0].key.dtype == dtype
