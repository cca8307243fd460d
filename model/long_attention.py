"""Scaled dot-product attention (Vaswani et al., 2017), for many queries.

B is windows, T queries, S positions attended to, D `d_model`: all heads, one beside the other.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.precision import from_bits, to_bits

_MAX_QUERY_BLOCK = 750  # half of the encoder's 1,500: measured best of 100 to 1,500 on CPUs


def attend_long(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    n_heads: int,
    dtype: np.dtype[Any],
    result_dtype: np.dtype[Any],
) -> jax.Array:
    """Attends from each of many queries to all positions, head by head.

    Args:
        query: [B, T, D].
        key: [B, S, D].
        value: [B, S, D].
        n_heads: heads; D is a multiple of it.
        dtype: dtype of the operands of the products.
        result_dtype: dtype of the result.

    Returns:
        [B, T, D].
    """
    if jax.default_backend() == "cpu":
        return _attend_by_head(query, key, value, n_heads, dtype, result_dtype)
    heads = (x.astype(dtype).reshape(*x.shape[:2], n_heads, -1) for x in (query, key, value))
    return jax.nn.dot_product_attention(*heads).reshape(query.shape).astype(result_dtype)


def _attend_by_head(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    n_heads: int,
    dtype: np.dtype[Any],
    result_dtype: np.dtype[Any],
) -> jax.Array:
    """Attends in a loop over heads, in blocks of queries: their scores stay in a CPU's cache.

    Operands are kept as bits, and keys are transposed before the loop: transposed inside it, bfloat16 would
    be widened to float32 for the product.
    """
    batch, _, d_model = query.shape
    width = d_model // n_heads
    queries, keys, values = (to_bits(x.astype(dtype)) for x in (query * width**-0.5, key, value))
    # Without the barrier XLA transposes again for each head.
    queries, keys, values = jax.lax.optimization_barrier((queries, keys.swapaxes(1, 2), values))

    def attend_head(index: jax.Array, heads: jax.Array) -> jax.Array:
        window, column = index // n_heads, index % n_heads * width
        own_queries, own_values = (
            from_bits(_slice(x, (window, 0, column), (x.shape[1], width)), dtype)
            for x in (heads if in_place else queries, values)
        )
        own_keys = from_bits(_slice(keys, (window, column, 0), (width, keys.shape[2])), dtype)
        attended = _attend_in_blocks(own_queries, own_keys, own_values).astype(result_dtype)
        return jax.lax.dynamic_update_slice(heads, to_bits(attended)[None], (window, 0, column))

    in_place = dtype == result_dtype  # the output of a head replaces its queries
    heads = queries if in_place else jnp.zeros_like(to_bits(query.astype(result_dtype)))
    heads = jax.lax.fori_loop(0, batch * n_heads, attend_head, heads)
    return from_bits(heads, result_dtype)


def _slice(x: jax.Array, start: tuple[Any, ...], shape: tuple[int, int]) -> jax.Array:
    """Returns a slice of one window."""
    part: jax.Array = jax.lax.dynamic_slice(x, start, (1, *shape))
    return part[0]


def _attend_in_blocks(queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Attends from scaled queries [T, K] of one head to keys [K, S] and values [S, K], in float32."""
    n_blocks = -(-len(queries) // _MAX_QUERY_BLOCK)
    block = -(-len(queries) // n_blocks)
    attended = []
    for first in range(0, len(queries), block):
        scores = jnp.matmul(queries[first : first + block], keys, preferred_element_type=jnp.float32)
        # XLA:CPU fuses the exponential with the product only if it begins with the maximum.
        weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)).astype(queries.dtype)
        # In float32: the weights are not yet divided by their sum, and 1,500 of them overflow float16.
        heads = jnp.matmul(weights, values, preferred_element_type=jnp.float32)
        attended.append(heads / weights.sum(axis=-1, keepdims=True, dtype=jnp.float32))
    return jnp.concatenate(attended)
