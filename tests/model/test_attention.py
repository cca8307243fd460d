import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import KeyValue, attend, attend_long, scores_of, shrink


def arrays(length: int, dtype: str = "float32") -> tuple[jax.Array, KeyValue]:
    random = np.random.default_rng(0)
    query, key, value = (jnp.asarray(random.standard_normal((2, 3, length, 8)), dtype) * 2 for _ in range(3))
    return query, KeyValue(key, value)


def relative_error(ours: jax.Array, theirs: jax.Array) -> float:
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


@pytest.mark.parametrize("length", [1500, 750, 40])
def test_blocks_change_nothing(length: int) -> None:
    query, memory = arrays(length)
    np.testing.assert_allclose(
        attend_long(query, memory, query.dtype), attend(query, memory, None), atol=2e-5
    )


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
    blocks = attend_long(query, memory, query.dtype)
    assert blocks.dtype == dtype
    np.testing.assert_allclose(blocks.astype("float32"), wide, atol=0.1)


@pytest.mark.parametrize("n_queries", [1, 5])
def test_a_memory_in_8_bits_is_close_to_the_whole(n_queries: int) -> None:
    query, memory = arrays(1500)
    query = query[:, :, :n_queries]
    wide = shrink(memory).widened()
    # What is lost is lost in the memory: the digits of the queries and of the weights are enough.
    small = attend(query, shrink(memory), None)
    np.testing.assert_allclose(small, attend(query, wide, None), atol=1e-3)
    assert relative_error(small, attend(query, memory, None)) < 0.03
    np.testing.assert_allclose(scores_of(query, shrink(memory)), scores_of(query, wide), atol=2e-3)


def test_many_small_weights_are_not_lost_beside_a_large_one() -> None:
    """One position has a third of the weight, and the others a 2,000th each: 127 steps drop them."""
    width, n = 8, 1500
    query = jnp.zeros((1, 1, 1, width)).at[..., 0].set(width**0.5)
    key = jnp.zeros((1, 1, n, width)).at[0, 0, 0, 0].set(np.log(n / 2))
    value = jnp.ones((1, 1, n, width)).at[0, 0, 0].set(-1.0)
    memory = KeyValue(key, value)
    np.testing.assert_allclose(attend(query, shrink(memory), None), attend(query, memory, None), atol=0.01)


def test_products_in_bfloat16_keep_the_dtype_of_the_queries() -> None:
    query, memory = arrays(1500)
    rounded = attend_long(query, memory, jnp.bfloat16)
    assert rounded.dtype == "float32"
    assert relative_error(rounded, attend(query, memory, None)) < 0.02
