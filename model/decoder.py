"""Text decoder: logits of the next token from the tokens so far and the encoded audio.

B is windows in the batch, T positions, D `d_model`, H heads, K the width of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from model.attention import KeyValue, QuantizedKeyValue
from model.config import MAX_TEXT_POSITIONS, WhisperConfig
from model.layers import Attention, Mlp, Weights, layer_norm
from model.linear import Embedding
from model.precision import Precision

CrossKV = tuple[KeyValue | QuantizedKeyValue, ...]
"""Cross-attention K/V cache: keys and values of the encoded audio, one entry per decoder layer."""

TextCaches = tuple[KeyValue, ...]
"""Self-attention K/V cache: keys and values of the tokens so far, one entry per decoder layer."""


class DecoderLayer(nnx.Module):
    """Pre-norm self-attention, cross-attention to the audio, and MLP."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.self_attention_norm = layer_norm(config.d_model, precision)
        self.self_attention = Attention(config.d_model, config.decoder_heads, precision=precision)
        self.cross_attention_norm = layer_norm(config.d_model, precision)
        self.cross_attention = Attention(config.d_model, config.decoder_heads, precision=precision)
        self.mlp_norm = layer_norm(config.d_model, precision)
        self.mlp = Mlp(config.d_model, config.d_mlp, precision=precision)

    def __call__(
        self,
        x: jax.Array,
        cache: KeyValue,
        cross_kv: KeyValue | QuantizedKeyValue,
        slot: jax.Array,
        mask: jax.Array,
    ) -> tuple[jax.Array, KeyValue]:
        """Runs the layer on tokens [B, T, D], which fill the cache from `slot` on; `mask`: see `attend`.

        Returns:
            The tokens' states [B, T, D], and the updated self-attention cache.
        """
        y = self.self_attention_norm(x)
        new = self.self_attention.key_value(y)
        updated = KeyValue(
            jax.lax.dynamic_update_slice_in_dim(cache.key, new.key, slot, axis=2),
            jax.lax.dynamic_update_slice_in_dim(cache.value, new.value, slot, axis=2),
        )
        x = x + self.self_attention(y, updated, mask)
        x = x + self.cross_attention(self.cross_attention_norm(x), cross_kv, None)
        return x + self.mlp(self.mlp_norm(x)), updated

    def forward_with_scores(
        self, x: jax.Array, cross_kv: KeyValue | QuantizedKeyValue, heads: Sequence[int]
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the layer on whole texts [B, T, D] with a causal mask, and returns cross-attention scores too.

        Returns:
            The tokens' states [B, T, D], and the cross-attention scores of `heads` before the softmax,
            float32[B, len(heads), T, 1500].
        """
        y = self.self_attention_norm(x)
        x = x + self.self_attention(y, self.self_attention.key_value(y), jnp.tri(x.shape[1], dtype=bool))
        y = self.cross_attention_norm(x)
        attended, scores = self.cross_attention.attend_with_scores(y, cross_kv, heads)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), scores


class Decoder(nnx.Module):
    """Text decoder: logits of the next token from the tokens so far and the encoded audio."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self._precision = precision
        self.embedding = Embedding(config.n_vocab, config.d_model, precision=precision)
        self.positions = nnx.Param(jnp.zeros((MAX_TEXT_POSITIONS, config.d_model), precision.dtype))
        self.layers = nnx.List(
            DecoderLayer(config, precision=precision) for _ in range(config.decoder_layers)
        )
        self.norm = layer_norm(config.d_model, precision)

    def cross_kv(self, encoded: jax.Array) -> CrossKV:
        """Returns the cross-attention K/V cache of the encoded audio [B, 1500, D]."""
        return tuple(layer.cross_attention.cross_kv(encoded) for layer in self.layers)

    def init_caches(self, batch: int, length: int) -> TextCaches:
        """Returns empty self-attention caches with `length` slots (tokens) per window."""
        n_heads, d_model = self.layers[0].self_attention.n_heads, self.positions[...].shape[1]
        empty = jnp.zeros((batch, n_heads, length, d_model // n_heads), self._precision.dtype)
        return (KeyValue(empty, empty),) * len(self.layers)

    def __call__(
        self,
        tokens: jax.Array,
        position: jax.Array | int,
        caches: TextCaches,
        cross_kv: CrossKV,
        n_padding: jax.Array | None = None,
    ) -> tuple[jax.Array, TextCaches]:
        """Runs the decoder on tokens int32[B, T], which fill the slots of the caches from `position` on.

        The first `n_padding` int32[B] slots of each row are left padding and are masked; None: no padding.

        Returns:
            Logits float32[B, V] of the token after the last one, and the updated caches.
        """
        slots = jnp.asarray(position, jnp.int32) + jnp.arange(tokens.shape[1])
        all_slots = jnp.arange(caches[0].key.shape[2])
        mask = all_slots <= slots[:, None]
        if n_padding is None:
            positions = self.positions[...][slots]
        else:
            positions = self.positions[...][jnp.maximum(slots - n_padding[:, None], 0)]
            # A padding slot attends to itself: the softmax of a fully masked row would be NaN.
            visible = all_slots >= jnp.minimum(n_padding[:, None], slots)[:, :, None]
            mask = (mask & visible)[:, None]
        x, updated = self._run(self.embedding(tokens) + positions, slots[0], mask, caches, cross_kv)
        return self.logits(self.norm(x[:, -1])), updated

    def decode_beams(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        caches: TextCaches,
        cross_kv: CrossKV,
    ) -> tuple[jax.Array, TextCaches]:
        """Runs the decoder on the last tokens int32[B, K] of the K hypotheses of each window (beam search).

        The tokens fill K slots of the caches from `slot` on. All hypotheses of a window share one cache, so
        that a common prefix is stored once. `positions` int32[B, 1] is the text position of each window's
        last tokens, and `mask` bool[B, K, S] marks the slots of each hypothesis, its last token included.

        Returns:
            Logits float32[B, K, V] of each hypothesis's next token, and the updated caches.
        """
        x = self.embedding(tokens) + self.positions[...][positions]
        x, updated = self._run(x, slot, mask[:, None], caches, cross_kv)
        return self.logits(self.norm(x)), updated

    def _run(
        self, x: jax.Array, slot: jax.Array, mask: jax.Array, caches: TextCaches, cross_kv: CrossKV
    ) -> tuple[jax.Array, TextCaches]:
        updated = []
        for layer, cache, layer_cross_kv in zip(self.layers, caches, cross_kv, strict=True):
            x, cache = _decoder_layer(*nnx.split(layer), x, cache, layer_cross_kv, slot, mask)
            updated.append(cache)
        return x, tuple(updated)

    def logits(self, x: jax.Array) -> jax.Array:
        """Projects normalised states [..., D] to the vocabulary, float32[..., V]."""
        return self.embedding.logits(x)


# Under `jit`, layers of the same shape are traced and lowered once, not each: half of a program's start-up.
@functools.partial(jax.jit, static_argnums=0)
def _decoder_layer(
    graph: nnx.GraphDef[DecoderLayer],
    weights: Weights,
    x: jax.Array,
    cache: KeyValue,
    cross_kv: KeyValue | QuantizedKeyValue,
    slot: jax.Array,
    mask: jax.Array,
) -> tuple[jax.Array, KeyValue]:
    return nnx.merge(graph, weights)(x, cache, cross_kv, slot, mask)
