import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import WhisperConfig
from model.network import Whisper
from tests.support.decode_helpers import random_whisper

CONFIG = WhisperConfig(80, 32, 64, 2, 2, 2, 2, 300)


@pytest.fixture(scope="module")
def network() -> Whisper:
    return random_whisper(CONFIG)


def test_incremental_decoding_equals_one_pass(network: Whisper) -> None:
    encoded = jax.random.normal(jax.random.key(0), (2, 1500, 32))
    tokens = jnp.asarray([[5, 6, 7, 8], [9, 1, 2, 3]], jnp.int32)
    cross_kv = network.decoder.cross_kv(encoded)
    one_pass, _ = network.decoder(tokens, 0, network.decoder.init_caches(2, 16), cross_kv)
    caches = network.decoder.init_caches(2, 16)
    for position in range(4):
        incremental, caches = network.decoder(tokens[:, position : position + 1], position, caches, cross_kv)
    np.testing.assert_allclose(incremental, one_pass, atol=1e-5)


def test_later_cache_slots_are_masked(network: Whisper) -> None:
    encoded = jax.random.normal(jax.random.key(0), (1, 1500, 32))
    cross_kv = network.decoder.cross_kv(encoded)
    early, caches = network.decoder(jnp.asarray([[5]]), 0, network.decoder.init_caches(1, 16), cross_kv)
    dirty = tuple(cache._replace(key=cache.key.at[:, :, 5:].set(1e3)) for cache in caches)
    clean_next, _ = network.decoder(jnp.asarray([[6]]), 1, caches, cross_kv)
    dirty_next, _ = network.decoder(jnp.asarray([[6]]), 1, dirty, cross_kv)
    np.testing.assert_array_equal(clean_next, dirty_next)
    assert early.shape == (1, 300)
