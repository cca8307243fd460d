import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model.long_attention import attend_long
from tests.model.test_attention import relative_error

N_HEADS, WIDTH = 2, 16


def arrays(length: int, n_attended: int) -> list[jax.Array]:
    """Queries, keys and values of two windows."""
    random = np.random.default_rng(0)
    lengths = (length, n_attended, n_attended)
    return [jnp.asarray(random.standard_normal((2, n, N_HEADS * WIDTH)), jnp.float32) for n in lengths]


def exact(query: jax.Array, key: jax.Array, value: jax.Array) -> NDArray[np.float64]:
    """Attention in float64, head by head."""
    q, k, v = (
        np.asarray(x, np.float64).reshape(*x.shape[:2], N_HEADS, WIDTH).swapaxes(1, 2)
        for x in (query, key, value)
    )
    weights = np.exp(q @ k.swapaxes(2, 3) / WIDTH**0.5)
    heads: NDArray[np.float64] = weights / weights.sum(-1, keepdims=True) @ v
    return heads.swapaxes(1, 2).reshape(query.shape)


def attended(operands: list[jax.Array], dtype: str, result_dtype: str = "float32") -> jax.Array:
    dtypes = {"dtype": np.dtype(dtype), "result_dtype": np.dtype(result_dtype)}
    return jax.jit(lambda *x: attend_long(*x, n_heads=N_HEADS, **dtypes))(*operands)


@pytest.mark.parametrize(
    ("length", "n_attended"), [(1500, 1500), (1499, 1499), (1000, 1000), (751, 751), (40, 40), (37, 1500)]
)
def test_attention_by_head_and_block_equals_plain_attention(length: int, n_attended: int) -> None:
    operands = arrays(length, n_attended)
    np.testing.assert_allclose(attended(operands, "float32"), exact(*operands), atol=2e-6)


@pytest.mark.parametrize("result_dtype", ["float32", "same"])
@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.01), ("float16", 0.002)])
def test_half_precision_is_close(dtype: str, error: float, result_dtype: str) -> None:
    operands = arrays(1500, 1500)
    wanted = dtype if result_dtype == "same" else result_dtype
    rounded = attended(operands, dtype, wanted)
    assert rounded.dtype == wanted
    assert relative_error(rounded.astype("float32"), jnp.asarray(exact(*operands))) < error


def test_large_scores_do_not_overflow() -> None:
    query, key, value = arrays(40, 40)
    rounded = np.asarray(attended([100 * query, 100 * key, value], "float16"))
    assert np.isfinite(rounded).all()
