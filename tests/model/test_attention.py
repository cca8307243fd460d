import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import KeyValue, attend, attention_scores, quantize_kv


def arrays(length: int, dtype: str = "float32") -> tuple[jax.Array, KeyValue]:
    random = np.random.default_rng(0)
    query, key, value = (jnp.asarray(random.standard_normal((2, 3, length, 8)), dtype) * 2 for _ in range(3))
    return query, KeyValue(key, value)


def relative_error(ours: jax.Array, theirs: jax.Array) -> float:
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


def test_attention_matches_jax_nn() -> None:
    query, kv = arrays(40)
    expected = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (query, *kv))).swapaxes(1, 2)
    np.testing.assert_allclose(attend(query, kv, None), expected, atol=2e-5)


def test_masked_positions_have_no_influence() -> None:
    query, kv = arrays(40)
    mask = jnp.arange(40) <= jnp.arange(40)[:, None]
    changed = KeyValue(kv.key.at[:, :, 30:].set(9.0), kv.value.at[:, :, 30:].set(9.0))
    before, after = attend(query, kv, mask), attend(query, changed, mask)
    np.testing.assert_array_equal(before[:, :, :30], after[:, :, :30])
    assert not np.allclose(before[:, :, 30:], after[:, :, 30:])


@pytest.mark.parametrize("is_quantized", [False, True])
def test_each_row_has_a_mask_of_its_own(is_quantized: bool) -> None:
    query, kv = arrays(40)
    stored = quantize_kv(kv) if is_quantized else kv
    n_attended = jnp.asarray([40, 17])
    mask = jnp.arange(40) < n_attended[:, None, None, None]
    found = attend(query, stored, mask)
    for row, n in enumerate(n_attended.tolist()):
        one = slice(row, row + 1)
        own = jax.tree.map(lambda x, one=one, n=n: x[one, :, :n], stored)
        np.testing.assert_allclose(found[one], attend(query[one], own, None), atol=1e-5)
    assert not np.allclose(found[1], attend(query, stored, None)[1], atol=1e-2)


@pytest.mark.parametrize("n_queries", [1, 5])
def test_a_quantized_cache_is_close_to_the_full_one(n_queries: int) -> None:
    query, kv = arrays(1500)
    query = query[:, :, :n_queries]
    wide = quantize_kv(kv).widened()
    # The error comes from quantising keys and values, not from the digits of queries and weights.
    quantized = attend(query, quantize_kv(kv), None)
    np.testing.assert_allclose(quantized, attend(query, wide, None), atol=1e-3)
    assert relative_error(quantized, attend(query, kv, None)) < 0.03
    np.testing.assert_allclose(
        attention_scores(query, quantize_kv(kv)), attention_scores(query, wide), atol=2e-3
    )


def test_many_small_weights_are_not_lost_beside_a_large_one() -> None:
    """One position has a third of the weight, the others 1/2000 each: one 8-bit digit rounds them to 0."""
    width, n = 8, 1500
    query = jnp.zeros((1, 1, 1, width)).at[..., 0].set(width**0.5)
    key = jnp.zeros((1, 1, n, width)).at[0, 0, 0, 0].set(np.log(n / 2))
    value = jnp.ones((1, 1, n, width)).at[0, 0, 0].set(-1.0)
    kv = KeyValue(key, value)
    np.testing.assert_allclose(attend(query, quantize_kv(kv), None), attend(query, kv, None), atol=0.01)
