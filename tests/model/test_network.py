import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.config import WhisperConfig
from model.network import Whisper

CONFIG = WhisperConfig(80, 32, 64, 2, 2, 2, 2, 300)


@pytest.fixture(scope="module")
def network() -> Whisper:
    return Whisper(CONFIG, dtype=jnp.float32, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_encoder_gives_a_vector_every_20_ms(n_mels: int) -> None:
    config = WhisperConfig(n_mels, 32, 64, 1, 2, 1, 2, 300)
    network = Whisper(config, dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert network.encoder(jnp.zeros((2, n_mels, 3000))).shape == (2, 1500, 32)


def test_tokens_one_by_one_give_what_they_give_at_once(network: Whisper) -> None:
    encoded = jax.random.normal(jax.random.key(0), (2, 1500, 32))
    tokens = jnp.asarray([[5, 6, 7, 8], [9, 1, 2, 3]], jnp.int32)
    at_once, _ = network.decoder(tokens, 0, network.decoder.init_caches(encoded, 16))
    caches = network.decoder.init_caches(encoded, 16)
    for position in range(4):
        one_by_one, caches = network.decoder(tokens[:, position : position + 1], position, caches)
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-5)


def test_the_decoder_does_not_see_what_comes_later(network: Whisper) -> None:
    encoded = jax.random.normal(jax.random.key(0), (1, 1500, 32))
    caches = network.decoder.init_caches(encoded, 16)
    early, caches = network.decoder(jnp.asarray([[5]]), 0, caches)
    dirty = jax.tree.map(lambda x: x, caches)
    dirty = tuple(
        cache._replace(
            self_attention=cache.self_attention._replace(key=cache.self_attention.key.at[:, :, 5:].set(1e3))
        )
        for cache in dirty
    )
    clean_next, _ = network.decoder(jnp.asarray([[6]]), 1, caches)
    dirty_next, _ = network.decoder(jnp.asarray([[6]]), 1, dirty)
    np.testing.assert_array_equal(clean_next, dirty_next)
    assert early.shape == (1, 300)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_logits_are_float32_in_every_precision(dtype: jnp.dtype) -> None:
    network = Whisper(CONFIG, dtype=dtype, rngs=nnx.Rngs(0))
    encoded = network.encoder(jnp.zeros((1, 80, 3000), dtype))
    assert encoded.dtype == dtype
    caches = network.decoder.init_caches(encoded, 8)
    logits, caches = network.decoder(jnp.asarray([[1]]), 0, caches)
    assert logits.dtype == jnp.float32
    assert caches[0].self_attention.key.dtype == dtype
