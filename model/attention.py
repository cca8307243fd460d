"""Scaled dot-product attention (Vaswani et al., 2017), for few queries: a decoding step.

B is windows, H heads, T queries, S positions attended to, K the width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.precision import QuantizedArray, quantize, split_digits, sum_digits


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
    """Attends from queries [B, H, T, K] to `kv`; `mask`, if any, is False at masked positions.

    `mask` is bool[T, S], or of rank 4 and broadcasts against [B, H, T, S].
    """
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
        digits = split_digits(scaled(query).astype(jnp.float32) * kv.key.scale)
        products = jnp.einsum(
            "bhtk,bhsk->bhts", digits.values, kv.key.values, preferred_element_type=jnp.int32
        )
        return sum_digits(products, digits.scale)
    return jnp.einsum("bhtk,bhsk->bhts", scaled(query), kv.key, preferred_element_type=jnp.float32)


def scaled(query: jax.Array) -> jax.Array:
    """Returns queries [..., K] over the square root of their width."""
    result: jax.Array = query * (query.shape[-1] ** -0.5)
    return result
