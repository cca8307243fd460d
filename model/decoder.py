"""Text decoder: logits of the next token from the tokens so far and the encoded audio.

B is windows in the batch, T positions, D `d_model`, H heads, K the width of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

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


class Slots(NamedTuple):
    """The slots of the self-attention caches that a step fills, and those that it attends to.

    Attributes:
        first: int32[B], the first of the T slots that a row fills.
        mask: bool[B, 1, T, S], the slots that each token attends to, its own included.
        audio_mask: bool[B, 1, 1, P], the positions of the encoded audio that hold the window.
    """

    first: jax.Array
    mask: jax.Array
    audio_mask: jax.Array


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
        slots: Slots,
    ) -> tuple[jax.Array, KeyValue]:
        """Runs the layer on tokens [B, T, D], which fill slots of the cache.

        Returns:
            The tokens' states [B, T, D], and the updated self-attention cache.
        """
        y = self.self_attention_norm(x)
        new = self.self_attention.key_value(y)
        updated = KeyValue(*(write_slots(a, b, slots.first) for a, b in zip(cache, new, strict=True)))
        x = x + self.self_attention(y, updated, slots.mask)
        x = x + self.cross_attention(self.cross_attention_norm(x), cross_kv, slots.audio_mask)
        return x + self.mlp(self.mlp_norm(x)), updated

    def forward(
        self, x: jax.Array, cross_kv: KeyValue | QuantizedKeyValue, audio_mask: jax.Array
    ) -> tuple[jax.Array, KeyValue]:
        """Runs the layer on whole texts [B, T, D] with a causal mask; `audio_mask`: see `Slots`.

        Returns:
            The tokens' states [B, T, D], and their keys and values for self-attention.
        """
        y = self.self_attention_norm(x)
        kv = self.self_attention.key_value(y)
        x = x + self.self_attention(y, kv, jnp.tri(x.shape[1], dtype=bool))
        x = x + self.cross_attention(self.cross_attention_norm(x), cross_kv, audio_mask)
        return x + self.mlp(self.mlp_norm(x)), kv

    def forward_with_scores(
        self,
        x: jax.Array,
        cross_kv: KeyValue | QuantizedKeyValue,
        audio_mask: jax.Array,
        heads: Sequence[int],
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the layer as `forward` does, and returns cross-attention scores instead of a cache.

        Returns:
            The tokens' states [B, T, D], and the cross-attention scores of `heads` before the softmax,
            float32[B, len(heads), T, P].
        """
        y = self.self_attention_norm(x)
        x = x + self.self_attention(y, self.self_attention.key_value(y), jnp.tri(x.shape[1], dtype=bool))
        y = self.cross_attention_norm(x)
        attended, scores = self.cross_attention.attend_with_scores(y, cross_kv, heads, audio_mask)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), scores


class Decoder(nnx.Module):
    """Text decoder: logits of the next token from the tokens so far and the encoded audio."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self._precision = precision
        self.embedding = Embedding(config.n_vocab, config.d_model, precision=precision)
        self.projection = (
            Embedding(config.n_vocab, config.d_model, precision=precision) if config.has_projection else None
        )
        self.positions = nnx.Param(jnp.zeros((MAX_TEXT_POSITIONS, config.d_model), precision.dtype))
        self.layers = nnx.List(
            DecoderLayer(config, precision=precision) for _ in range(config.decoder_layers)
        )
        self.norm = layer_norm(config.d_model, precision)

    @property
    def n_vocab(self) -> int:
        """The number of logits."""
        return int(self.embedding.embedding[...].shape[0])

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
        positions: jax.Array,
        slots: Slots,
        caches: TextCaches,
        cross_kv: CrossKV,
    ) -> tuple[jax.Array, TextCaches]:
        """Runs the decoder on T tokens of each row, which fill slots of the caches.

        With beams, these are the last tokens of the T hypotheses of a window, which share one cache, so that
        a common prefix is stored once.

        Args:
            tokens: int32[B, T].
            positions: int32[B, T] or [B, 1], their text positions.
            slots: the slots that they fill, and attend to.
            caches: the self-attention caches.
            cross_kv: the cross-attention K/V cache.

        Returns:
            Normalised states [B, T, D], which `logits` projects to the next tokens, and the updated caches.
        """
        x = self.embedding(tokens) + self.positions[...][positions]
        updated = []
        for layer, cache, layer_cross_kv in zip(self.layers, caches, cross_kv, strict=True):
            x, cache = _decoder_layer(*nnx.split(layer), x, cache, layer_cross_kv, slots)
            updated.append(cache)
        return self.norm(x), tuple(updated)

    def prompt_caches(self, tokens: jax.Array, cross_kv: CrossKV, audio_mask: jax.Array) -> TextCaches:
        """Returns the self-attention caches of previous text int32[B, T], in T slots (see `Slots`)."""
        x = self.embedding(tokens) + self.positions[...][: tokens.shape[1]]
        caches = []
        for layer, layer_cross_kv in zip(self.layers, cross_kv, strict=True):
            x, kv = layer.forward(x, layer_cross_kv, audio_mask)
            caches.append(kv)
        return tuple(caches)

    def logits(self, x: jax.Array) -> jax.Array:
        """Projects normalised states [..., D] to the vocabulary, float32[..., V]."""
        projection = self.embedding if self.projection is None else self.projection
        return projection.logits(x)


# Under `jit`, layers of the same shape are traced and lowered once, not each: half of a program's start-up.
@functools.partial(jax.jit, static_argnums=0)
def _decoder_layer(
    graph: nnx.GraphDef[DecoderLayer],
    weights: Weights,
    x: jax.Array,
    cache: KeyValue,
    cross_kv: KeyValue | QuantizedKeyValue,
    slots: Slots,
) -> tuple[jax.Array, KeyValue]:
    return nnx.merge(graph, weights)(x, cache, cross_kv, slots)


def write_slots(cache: jax.Array, new: jax.Array, first: jax.Array) -> jax.Array:
    """Returns a cache [B, H, S, K] with `new` [B, H, T, K] in the T slots from `first` int32[B] on."""
    # A loop over rows that are on several devices would exchange them.
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:

        def write(row: jax.Array, part: jax.Array, slot: jax.Array) -> jax.Array:
            updated: jax.Array = jax.lax.dynamic_update_slice_in_dim(row, part, slot, axis=1)
            return updated

        return jax.vmap(write)(cache, new, first)
    for row in range(cache.shape[0]):  # in place; a scatter is slower on a CPU
        cache = jax.lax.dynamic_update_slice(cache, new[row : row + 1], (row, 0, first[row], 0))
    return cache
