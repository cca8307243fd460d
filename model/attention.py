"""Scaled dot-product attention (Vaswani et al., 2017), for few queries and for many.

B is windows, H heads, T queries, S positions attended to, K the width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_QUERY_BLOCK = 750  # of the encoder's 1,500: measured best of 125 to 1,500 on CPUs


class KeyValue(NamedTuple):
    """Keys and values of one attention, [B, H, S, K] each."""

    key: jax.Array
    value: jax.Array


def attend(query: jax.Array, memory: KeyValue, mask: jax.Array | None) -> jax.Array:
    """Attends from queries [B, H, T, K]; `mask` bool[T, S], if any, is True where a position is seen."""
    scores = jnp.einsum("bhtk,bhsk->bhts", _scaled(query), memory.key, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(memory.value.dtype)
    return jnp.einsum("bhts,bhsk->bhtk", weights, memory.value)


def attend_long(query: jax.Array, memory: KeyValue) -> jax.Array:
    """Attends from each of many queries [B, H, T, K] to all positions."""
    if jax.default_backend() == "cpu":
        return _attend_in_blocks(query, memory)
    heads = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (query, *memory)))
    return heads.swapaxes(1, 2)


def _attend_in_blocks(query: jax.Array, memory: KeyValue) -> jax.Array:
    """Head by head, in blocks of queries: their scores stay in a CPU's cache, four times as fast."""
    batch, n_heads, length, width = query.shape
    block = _QUERY_BLOCK if length % _QUERY_BLOCK == 0 else length

    def attend_head(head: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        queries, key, value = head

        def attend_block(rows: jax.Array) -> jax.Array:
            scores = jnp.matmul(rows, key.T, preferred_element_type=jnp.float32)
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
            total = weights.sum(axis=-1, keepdims=True)
            # In float32: the weights are not divided by their sum yet, and 1,500 of them overflow float16.
            heads = jnp.matmul(weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
            return (heads / total).astype(value.dtype)

        attended: jax.Array = jax.lax.map(attend_block, queries)
        return attended

    blocks = _scaled(query).reshape(batch * n_heads, length // block, block, width)
    keys, values = (x.reshape(batch * n_heads, -1, width) for x in memory)
    heads: jax.Array = jax.lax.map(attend_head, (blocks, keys, values))
    return heads.reshape(batch, n_heads, length, width)


def _scaled(query: jax.Array) -> jax.Array:
    scaled: jax.Array = query * (query.shape[-1] ** -0.5)
    return scaled
