"""Scaled dot-product attention (Vaswani et al., 2017), for few queries (a decoding step) and for many.

B is windows, H heads, T queries, S positions attended to, K the width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.precision import QuantizedArray, quantize, split_digits, sum_digits

_QUERY_BLOCK = 750  # of the encoder's 1,500: measured best of 250 to 1,500 on CPUs


class KeyValue(NamedTuple):
    """Keys and values of one attention, [B, H, S, K] each."""

    key: jax.Array
    value: jax.Array


class QuantizedKeyValue(NamedTuple):
    """Keys and values of one attention in 8 bits, with a scale per head and channel, float32[B, H, 1, K]."""

    key: QuantizedArray
    value: QuantizedArray

    def widened(self) -> KeyValue:
        """Returns the keys and values in float32."""
        return KeyValue(*(part.values * part.scale for part in self))


def quantize_kv(kv: KeyValue) -> QuantizedKeyValue:
    """Quantises keys and values to 8 bits."""
    return QuantizedKeyValue(*(quantize(x, axis=2) for x in kv))


def attend(query: jax.Array, kv: KeyValue | QuantizedKeyValue, mask: jax.Array | None) -> jax.Array:
    """Attends from queries [B, H, T, K] to `kv`; `mask` bool[T, S], if any, is False at masked positions."""
    scores = attention_scores(query, kv)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    if isinstance(kv, QuantizedKeyValue):
        # Divided by their sum at the end only: until then the largest is 1, which fills the digits.
        weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
        total = weights.sum(axis=-1, keepdims=True)
        digits = split_digits(weights)
        products = jnp.einsum(
            "bhts,bhsk->bhtk", digits.values, kv.value.values, preferred_element_type=jnp.int32
        )
        heads = sum_digits(products, digits.scale) * kv.value.scale / total
        return heads.astype(query.dtype)
    weights = jax.nn.softmax(scores, axis=-1).astype(kv.value.dtype)
    return jnp.einsum("bhts,bhsk->bhtk", weights, kv.value)


def attention_scores(query: jax.Array, kv: KeyValue | QuantizedKeyValue) -> jax.Array:
    """Scaled products of queries [B, H, T, K] with keys, before the softmax: float32[B, H, T, S]."""
    if isinstance(kv, QuantizedKeyValue):
        digits = split_digits(_scaled(query).astype(jnp.float32) * kv.key.scale)
        products = jnp.einsum(
            "bhtk,bhsk->bhts", digits.values, kv.key.values, preferred_element_type=jnp.int32
        )
        return sum_digits(products, digits.scale)
    return jnp.einsum("bhtk,bhsk->bhts", _scaled(query), kv.key, preferred_element_type=jnp.float32)


def attend_long(query: jax.Array, kv: KeyValue, dtype: jnp.dtype) -> jax.Array:
    """Attends from each of many queries [B, H, T, K] to all positions, with products in `dtype`."""
    if jax.default_backend() == "cpu":
        return _attend_in_blocks(query, kv, dtype)
    heads = jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (query, *kv)))
    return heads.swapaxes(1, 2)


def _attend_in_blocks(query: jax.Array, kv: KeyValue, dtype: jnp.dtype) -> jax.Array:
    """Attends head by head, in blocks of queries: their scores stay in a CPU's cache, four times as fast."""
    batch, n_heads, length, width = query.shape
    block = _QUERY_BLOCK if length % _QUERY_BLOCK == 0 else length

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

    blocks = _scaled(query).astype(dtype).reshape(batch * n_heads, length // block, block, width)
    keys, values = (x.astype(dtype).reshape(batch * n_heads, -1, width) for x in kv)
    # A column of ones beside the values yields the sum of the weights, and saves a pass over them.
    values = jnp.pad(values, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    # Without the barrier XLA moves the conversion to `dtype` into the loops and converts back there.
    operands = jax.lax.optimization_barrier((blocks, keys.swapaxes(1, 2), values))
    heads: jax.Array = jax.lax.map(attend_head, operands)
    return heads.reshape(batch, n_heads, length, width)


def _scaled(query: jax.Array) -> jax.Array:
    scaled: jax.Array = query * (query.shape[-1] ** -0.5)
    return scaled
