"""Scaled dot-product attention (Vaswani et al., 2017), for many queries.

B is windows, H heads, T queries, S positions attended to, K the width of a head.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from model.attention import KeyValue, scaled

_MAX_QUERY_BLOCK = 750  # half of the encoder's 1,500: measured best of 250 to 1,500 on CPUs


def attend_long(query: jax.Array, kv: KeyValue, dtype: jnp.dtype) -> jax.Array:
    """Attends from each of many queries [B, H, T, K] to all positions, with products in `dtype`."""
    if jax.default_backend() == "cpu":
        return _attend_in_blocks(query, kv, dtype)
    heads = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (query, *kv)))
    return heads.swapaxes(1, 2)


def _attend_in_blocks(query: jax.Array, kv: KeyValue, dtype: jnp.dtype) -> jax.Array:
    """Attends head by head, in blocks of queries: their scores stay in a CPU's cache, four times as fast."""
    batch, n_heads, length, width = query.shape
    n_blocks = -(-length // _MAX_QUERY_BLOCK)
    block = -(-length // n_blocks)
    n_padding = n_blocks * block - length

    def attend_head(head: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        queries, key, value = head

        def attend_block(rows: jax.Array) -> jax.Array:
            scores = jnp.matmul(rows, key, preferred_element_type=jnp.float32)
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)).astype(dtype)
            # In float32: the weights are not yet divided by their sum, and 1,500 of them overflow float16.
            heads = jnp.matmul(weights, value, preferred_element_type=jnp.float32)
            return (heads[:, :width] / heads[:, width:]).astype(query.dtype)

        attended: jax.Array = jax.lax.map(attend_block, queries)
        return attended

    padded = jnp.pad(scaled(query).astype(dtype), ((0, 0), (0, 0), (0, n_padding), (0, 0)))
    blocks = padded.reshape(batch * n_heads, n_blocks, block, width)
    keys, values = (x.astype(dtype).reshape(batch * n_heads, -1, width) for x in kv)
    # A column of ones beside the values yields the sum of the weights, and saves a pass over them.
    values = jnp.pad(values, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    # Without the barrier XLA moves the conversion to `dtype` into the loops and converts back there.
    operands = jax.lax.optimization_barrier((blocks, keys.swapaxes(1, 2), values))
    heads: jax.Array = jax.lax.map(attend_head, operands)
    return heads.reshape(batch, n_heads, n_blocks * block, width)[:, :, :length]
