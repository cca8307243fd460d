"""Scaled dot-product attention (Vaswani et al., 2017), for many queries.

B is windows, T queries, S positions attended to, D `d_model`: all heads, one beside the other.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.memory import MAX_QUERY_BLOCK, MAX_SCORE_BYTES
from model.precision import EncoderAttention, from_bits, to_bits

_MAX_CPU_BLOCK = 750  # half of the encoder's 1,500: measured best of 100 to 1,500 on CPUs
_MIN_QUERY_BLOCK = 16


def attend_long(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    n_heads: int,
    dtype: np.dtype[Any],
    result_dtype: np.dtype[Any],
    method: EncoderAttention = EncoderAttention.BY_HEAD,
) -> jax.Array:
    """Attends from each of many queries to all positions; no method holds the scores of all of them.

    Args:
        query: [B, T, D].
        key: [B, S, D].
        value: [B, S, D].
        n_heads: heads; D is a multiple of it.
        dtype: dtype of the operands of the products; float16 or bfloat16 with cuDNN.
        result_dtype: dtype of the result.
        method: implementation, which the device must support; see `model.attention_choice`.

    Returns:
        [B, T, D].
    """
    if method is EncoderAttention.BY_HEAD:
        return _attend_by_head(query, key, value, n_heads, dtype, result_dtype)
    heads = [x.astype(dtype).reshape(*x.shape[:2], n_heads, -1) for x in (query, key, value)]
    if method is EncoderAttention.CUDNN:
        attended = jax.nn.dot_product_attention(*heads, implementation="cudnn")
    else:
        attended = _attend_blocked(*heads)
    return attended.reshape(query.shape).astype(result_dtype)


def query_block(n_heads: int, n_positions: int) -> int:
    """Returns the number of queries of a block: 256, or the half of it until the scores fit their limit.

    Args:
        n_heads: heads of a window, times windows.
        n_positions: positions attended to.
    """
    block = MAX_QUERY_BLOCK
    while block > _MIN_QUERY_BLOCK and 4 * n_heads * block * n_positions > MAX_SCORE_BYTES:
        block //= 2
    return block


def _attend_blocked(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attends from queries [B, T, H, K] to keys and values [B, S, H, K], block by block; [B, T, H, K]."""
    batch, length, n_heads, width = query.shape
    block = query_block(batch * n_heads, key.shape[1])
    n_blocks = -(-length // block)
    padded = jnp.pad(query * width**-0.5, ((0, 0), (0, n_blocks * block - length), (0, 0), (0, 0)))

    def attend_block(queries: jax.Array) -> jax.Array:
        scores = jnp.einsum("bthk,bshk->bhts", queries, key, preferred_element_type=jnp.float32)
        weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
        total = weights.sum(axis=-1)
        # In float32: the weights are not yet divided by their sum, and 1,500 of them overflow float16.
        heads = jnp.einsum(
            "bhts,bshk->bthk", weights.astype(value.dtype), value, preferred_element_type=jnp.float32
        )
        return (heads / total.swapaxes(1, 2)[..., None]).astype(value.dtype)

    blocks = padded.reshape(batch, n_blocks, block, n_heads, width).swapaxes(0, 1)
    attended: jax.Array = jax.lax.map(attend_block, blocks)
    return attended.swapaxes(0, 1).reshape(padded.shape)[:, :length]


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
    n_blocks = -(-len(queries) // _MAX_CPU_BLOCK)
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
