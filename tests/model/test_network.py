import jax.numpy as jnp
import numpy as np
import pytest

from model.config import WhisperConfig
from model.precision import Precision
from tests.support.decode_helpers import random_whisper

CONFIG = WhisperConfig(80, 32, 64, 2, 2, 2, 2, 300)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_logits_are_float32_in_every_precision(dtype: jnp.dtype) -> None:
    network = random_whisper(CONFIG, Precision(np.dtype(dtype)))
    encoded = network.encoder(jnp.zeros((1, 80, 3000), dtype))
    assert encoded.dtype == dtype
    cross_kv = network.decoder.cross_kv(encoded)
    logits, caches = network.decoder(jnp.asarray([[1]]), 0, network.decoder.init_caches(1, 8), cross_kv)
    assert logits.dtype == jnp.float32
    assert caches[0].key.dtype == dtype
