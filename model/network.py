"""The network of "Robust Speech Recognition via Large-Scale Weak Supervision" (Radford et al., 2022).

Numerically the same as `whisper/model.py` of openai/whisper. B is windows in the batch, T positions, D
`d_model`, H heads, K the width of a head. Kernels are (inputs, outputs).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.attention import KeyValue, QuantizedKeyValue, attend, attend_long, attention_scores, quantize_kv
from model.config import MAX_TEXT_POSITIONS, N_POSITIONS, WhisperConfig
from model.linear import Embedding, Linear
from model.precision import Precision

Weights = nnx.State[Any, Any]

CrossKV = tuple[KeyValue | QuantizedKeyValue, ...]
"""Cross-attention K/V cache: keys and values of the encoded audio, one entry per decoder layer."""

TextCaches = tuple[KeyValue, ...]
"""Self-attention K/V cache: keys and values of the tokens so far, one entry per decoder layer."""


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
        return self._merge(attend(self._split(self.query(x)), kv, mask))

    def attend_self(self, x: jax.Array) -> jax.Array:
        """Attends from each position of [B, T, D] to all of them; for long inputs."""
        return self._attend_long(x, self.key_value(x))

    def attend_with_scores(
        self, x: jax.Array, kv: KeyValue | QuantizedKeyValue, heads: Sequence[int]
    ) -> tuple[jax.Array, jax.Array]:
        """Attends from many positions [B, T, D] to all of `kv`, and returns the attention scores too.

        Returns:
            The attention's output [B, T, D], and the scores of `heads` before the softmax,
            float32[B, len(heads), T, S].
        """
        wide = kv.widened() if isinstance(kv, QuantizedKeyValue) else kv
        chosen = np.asarray(heads, np.int32)
        query = self._split(self.query(x))[:, chosen]
        scores = attention_scores(query, KeyValue(*(part[:, chosen] for part in wide)))
        return self._attend_long(x, wide), scores

    def _attend_long(self, x: jax.Array, kv: KeyValue) -> jax.Array:
        dtype = self._precision.attention_dtype
        return self._merge(attend_long(self._split(self.query(x)), kv, dtype))

    def _split(self, x: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.n_heads, -1).swapaxes(1, 2)

    def _merge(self, heads: jax.Array) -> jax.Array:
        batch, _, length, _ = heads.shape
        merged: jax.Array = self.out(heads.swapaxes(1, 2).reshape(batch, length, -1))
        return merged


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, d_model: int, d_mlp: int, *, precision: Precision) -> None:
        self.up = Linear(d_model, d_mlp, precision=precision)
        self.down = Linear(d_mlp, d_model, precision=precision)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        return self.down(nnx.gelu(self.up(x), approximate=False))


class Convolution(Linear):
    """Convolution of width 3, with a frame of zeros at both ends; the kernel is [3 inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, precision: Precision) -> None:
        super().__init__(3 * inputs, outputs, precision=precision)
        self._stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, inputs] to [B, T / stride, outputs]."""
        length, padded = x.shape[1], jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        frames = [padded[:, shift : shift + length : self._stride] for shift in range(3)]
        return super().__call__(jnp.concatenate(frames, axis=-1))


def _norm(d_model: int, precision: Precision) -> nnx.LayerNorm:
    dtype = precision.dtype
    norm = nnx.LayerNorm(d_model, epsilon=1e-5, dtype=dtype, use_scale=False, use_bias=False, rngs=nnx.Rngs())
    # Flax draws keys for both, which takes a fifth of the time to load a small model.
    norm.scale, norm.bias = nnx.Param(jnp.ones(d_model, dtype)), nnx.Param(jnp.zeros(d_model, dtype))
    return norm


class EncoderLayer(nnx.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.attention_norm = _norm(config.d_model, precision)
        self.attention = Attention(config.d_model, config.encoder_heads, precision=precision)
        self.mlp_norm = _norm(config.d_model, precision)
        self.mlp = Mlp(config.d_model, config.d_mlp, precision=precision)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        x = x + self.attention.attend_self(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nnx.Module):
    """Audio encoder: log-mel frames to one vector per 20 ms."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        def conv(inputs: int, stride: int) -> Convolution:
            return Convolution(inputs, config.d_model, stride=stride, precision=precision)

        self.conv1, self.conv2 = conv(config.n_mels, 1), conv(config.d_model, 2)
        self.positions = nnx.Param(jnp.zeros((N_POSITIONS, config.d_model), precision.dtype))
        self.layers = nnx.List(
            EncoderLayer(config, precision=precision) for _ in range(config.encoder_layers)
        )
        self.norm = _norm(config.d_model, precision)

    def __call__(self, mels: jax.Array) -> jax.Array:
        """Encodes [B, n_mels, 3000] to [B, 1500, D]."""
        x = nnx.gelu(self.conv1(mels.swapaxes(1, 2)), approximate=False)
        x = nnx.gelu(self.conv2(x), approximate=False)
        x = x + self.positions[...]
        for layer in self.layers:
            x = _encoder_layer(*nnx.split(layer), x)
        encoded: jax.Array = self.norm(x)
        return encoded


class DecoderLayer(nnx.Module):
    """Pre-norm self-attention, cross-attention to the audio, and MLP."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.self_attention_norm = _norm(config.d_model, precision)
        self.self_attention = Attention(config.d_model, config.decoder_heads, precision=precision)
        self.cross_attention_norm = _norm(config.d_model, precision)
        self.cross_attention = Attention(config.d_model, config.decoder_heads, precision=precision)
        self.mlp_norm = _norm(config.d_model, precision)
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
        self.norm = _norm(config.d_model, precision)

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


class Whisper(nnx.Module):
    """The Whisper network: encoder and decoder."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.encoder = Encoder(config, precision=precision.for_encoder)
        self.decoder = Decoder(config, precision=precision.for_decoder)


# Under `jit`, layers of the same shape are traced and lowered once, not each: half of a program's start-up.
@functools.partial(jax.jit, static_argnums=0)
def _encoder_layer(graph: nnx.GraphDef[EncoderLayer], weights: Weights, x: jax.Array) -> jax.Array:
    return nnx.merge(graph, weights)(x)


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
