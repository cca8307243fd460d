import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import KeyValue, attend, attend_long


def arrays(length: int, dtype: str = "float32") -> tuple[jax.Array, KeyValue]:
    random = np.random.default_rng(0)
    query, key, value = (jnp.asarray(random.standard_normal((2, 3, length, 8)), dtype) * 2 for _ in range(3))
    return query, KeyValue(key, value)


@pytest.mark.parametrize("length", [1500, 750, 40])
def test_blocks_change_nothing(length: int) -> None:
    query, memory = arrays(length)
    np.testing.assert_allclose(attend_long(query, memory), attend(query, memory, None), atol=2e-5)


def test_attention_is_that_of_jax() -> None:
    query, memory = arrays(40)
    expected = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (query, *memory))).swapaxes(1, 2)
    np.testing.assert_allclose(attend(query, memory, None), expected, atol=2e-5)


def test_what_the_mask_hides_has_no_influence() -> None:
    query, memory = arrays(40)
    mask = jnp.arange(40) <= jnp.arange(40)[:, None]
    changed = KeyValue(memory.key.at[:, :, 30:].set(9.0), memory.value.at[:, :, 30:].set(9.0))
    before, after = attend(query, memory, mask), attend(query, changed, mask)
    np.testing.assert_array_equal(before[:, :, :30], after[:, :, :30])
    assert not np.allclose(before[:, :, 30:], after[:, :, 30:])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_so_and_close(dtype: str) -> None:
    query, memory = arrays(1500, dtype)
    wide = attend(query.astype("float32"), KeyValue(*(x.astype("float32") for x in memory)), None)
    blocks = attend_long(query, memory)
    assert blocks.dtype == dtype
    np.testing.assert_allclose(blocks.astype("float32"), wide, atol=0.1)
