"""Layers that the encoder and the decoder share.

B is windows in the batch, T positions, D `d_model`, H heads, K the width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.attention import KeyValue, QuantizedKeyValue, attend, attention_scores, quantize_kv
from model.linear import Linear
from model.long_attention import attend_long
from model.precision import Precision

Weights = nnx.State[Any, Any]
"""The arrays of a module, by path."""


class Attention(nnx.Module):
    """Multi-head attention; keys have no bias."""

    def __init__(self, d_model: int, n_heads: int, *, precision: Precision) -> None:
        def linear(use_bias: bool = True) -> Linear:
            return Linear(d_model, d_model, use_bias=use_bias, precision=precision)

        self.n_heads = n_heads
        self._precision = precision
        self.query, self.key, self.value, self.out = linear(), linear(use_bias=False), linear(), linear()

    def key_value(self, x: jax.Array) -> KeyValue:
        """Projects [B, T, D] to keys and values."""
        return KeyValue(self._split(self.key(x)), self._split(self.value(x)))

    def cross_kv(self, encoded: jax.Array) -> KeyValue | QuantizedKeyValue:
        """Projects the encoded audio [B, 1500, D] to the keys and values that are read at every token."""
        kv = self.key_value(encoded)
        return quantize_kv(kv) if self._precision.has_quantized_kv else kv

    def __call__(self, x: jax.Array, kv: KeyValue | QuantizedKeyValue, mask: jax.Array | None) -> jax.Array:
        """Attends from [B, T, D] to `kv`; `mask`: see `attend`."""
        attended = attend(self._split(self.query(x)), kv, mask)
        projected: jax.Array = self.out(_merge_heads(attended))
        return projected

    def attend_self(self, x: jax.Array) -> jax.Array:
        """Attends from each position of [B, T, D] to all of them; for long inputs."""
        return self._attend_long(x, self.key(x), self.value(x))

    def attend_with_scores(
        self, x: jax.Array, kv: KeyValue | QuantizedKeyValue, heads: Sequence[int], mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Attends from [B, T, D] to `kv`, and returns the attention scores too; `mask`: see `attend`.

        Returns:
            The attention's output [B, T, D], and the scores of `heads` before the softmax,
            float32[B, len(heads), T, S].
        """
        wide = kv.widened() if isinstance(kv, QuantizedKeyValue) else kv
        query = self._split(self.query(x))
        chosen = np.asarray(heads, np.int32)
        scores = attention_scores(query[:, chosen], KeyValue(*(part[:, chosen] for part in wide)))
        attended: jax.Array = self.out(_merge_heads(attend(query, wide, mask)))
        return attended, scores

    def _attend_long(self, x: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        attended = attend_long(
            self.query(x),
            key,
            value,
            n_heads=self.n_heads,
            dtype=self._precision.attention_dtype,
            result_dtype=self._precision.operand_dtype,
            method=self._precision.attention,
        )
        projected: jax.Array = self.out(attended)
        return projected

    def _split(self, x: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.n_heads, -1).swapaxes(1, 2)


def _merge_heads(heads: jax.Array) -> jax.Array:
    """Maps [B, H, T, K] to [B, T, D]."""
    batch, _, length, _ = heads.shape
    return heads.swapaxes(1, 2).reshape(batch, length, -1)


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, d_model: int, d_mlp: int, *, precision: Precision) -> None:
        self.up = Linear(d_model, d_mlp, precision=precision)
        self.down = Linear(d_mlp, d_model, precision=precision)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        return self.down(gelu(self.up(x)))


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU, as PyTorch computes it: in half the time of `jax.nn.gelu`, whose erfc has three ranges."""
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


def layer_norm(d_model: int, precision: Precision) -> nnx.LayerNorm:
    """Returns a layer norm of the width `d_model`, in the dtype of the activations."""
    dtype = precision.dtype
    norm = nnx.LayerNorm(d_model, epsilon=1e-5, dtype=dtype, use_scale=False, use_bias=False, rngs=nnx.Rngs())
    # Flax draws keys for both, which takes a fifth of the time to load a small model.
    norm.scale, norm.bias = nnx.Param(jnp.ones(d_model, dtype)), nnx.Param(jnp.zeros(d_model, dtype))
    return norm
