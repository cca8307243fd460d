"""The network of "Robust Speech Recognition via Large-Scale Weak Supervision" (Radford et al., 2022).

Numerically the same as `whisper/model.py` of openai/whisper. B is windows in the batch, T positions, D
`d_model`, H heads, K the width of a head. Kernels are (inputs, outputs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from model.attention import KeyValue, attend, attend_long
from model.config import MAX_TEXT_POSITIONS, N_POSITIONS, WhisperConfig


class LayerCache(NamedTuple):
    """What a decoder layer remembers: of the tokens so far, and of the audio."""

    self_attention: KeyValue
    cross_attention: KeyValue


class Attention(nnx.Module):
    """Multi-head attention; keys have no bias."""

    def __init__(self, d_model: int, n_heads: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        def linear(use_bias: bool = True) -> nnx.Linear:
            return nnx.Linear(d_model, d_model, use_bias=use_bias, dtype=dtype, param_dtype=dtype, rngs=rngs)

        self.n_heads = n_heads
        self.query, self.key, self.value, self.out = linear(), linear(use_bias=False), linear(), linear()

    def key_value(self, x: jax.Array) -> KeyValue:
        """Projects [B, T, D] to keys and values."""
        return KeyValue(self._split(self.key(x)), self._split(self.value(x)))

    def __call__(self, x: jax.Array, memory: KeyValue, mask: jax.Array | None) -> jax.Array:
        """Attends from [B, T, D] to `memory`; `mask`: see `attend`."""
        return self._merge(attend(self._split(self.query(x)), memory, mask))

    def attend_self(self, x: jax.Array) -> jax.Array:
        """Attends from each position of [B, T, D] to all of them; for long inputs."""
        return self.attend_many(x, self.key_value(x))

    def attend_many(self, x: jax.Array, memory: KeyValue) -> jax.Array:
        """Attends from each of many positions [B, T, D] to all of `memory`."""
        return self._merge(attend_long(self._split(self.query(x)), memory))

    def scores(self, x: jax.Array, memory: KeyValue, heads: Sequence[int]) -> jax.Array:
        """How much [B, T, D] asks for each position of `memory`: what comes before the softmax.

        Returns:
            float32[B, len(heads), T, S].
        """
        chosen = np.asarray(heads, np.int32)
        query, key = self._split(self.query(x))[:, chosen], memory.key[:, chosen]
        query = query * (query.shape[-1] ** -0.5)
        return jnp.einsum("bhtk,bhsk->bhts", query, key, preferred_element_type=jnp.float32)

    def _split(self, x: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.n_heads, -1).swapaxes(1, 2)

    def _merge(self, heads: jax.Array) -> jax.Array:
        batch, _, length, _ = heads.shape
        merged: jax.Array = self.out(heads.swapaxes(1, 2).reshape(batch, length, -1))
        return merged


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, d_model: int, d_mlp: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(d_model, d_mlp, dtype=dtype, param_dtype=dtype, rngs=rngs)
        self.down = nnx.Linear(d_mlp, d_model, dtype=dtype, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        return self.down(nnx.gelu(self.up(x), approximate=False))


def _norm(d_model: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(d_model, epsilon=1e-5, dtype=dtype, param_dtype=dtype, rngs=rngs)


class EncoderLayer(nnx.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, config: WhisperConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.attention_norm = _norm(config.d_model, dtype, rngs)
        self.attention = Attention(config.d_model, config.encoder_heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = _norm(config.d_model, dtype, rngs)
        self.mlp = Mlp(config.d_model, config.d_mlp, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        x = x + self.attention.attend_self(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Encoder(nnx.Module):
    """Log-mel frames to one vector for each 20 ms."""

    def __init__(self, config: WhisperConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        def conv(inputs: int, stride: int) -> nnx.Conv:
            return nnx.Conv(
                inputs,
                config.d_model,
                kernel_size=3,
                strides=stride,
                padding=1,
                dtype=dtype,
                param_dtype=dtype,
                rngs=rngs,
            )

        self.conv1, self.conv2 = conv(config.n_mels, 1), conv(config.d_model, 2)
        self.positions = nnx.Param(jnp.zeros((N_POSITIONS, config.d_model), dtype))
        self.layers = nnx.List(
            EncoderLayer(config, dtype=dtype, rngs=rngs) for _ in range(config.encoder_layers)
        )
        self.norm = _norm(config.d_model, dtype, rngs)

    def __call__(self, mels: jax.Array) -> jax.Array:
        """Encodes [B, n_mels, 3000] to [B, 1500, D]."""
        x = nnx.gelu(self.conv1(mels.swapaxes(1, 2)), approximate=False)
        x = nnx.gelu(self.conv2(x), approximate=False)
        x = x + self.positions[...]
        for layer in self.layers:
            x = layer(x)
        encoded: jax.Array = self.norm(x)
        return encoded


class DecoderLayer(nnx.Module):
    """Pre-norm self-attention, cross-attention to the audio, and MLP."""

    def __init__(self, config: WhisperConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.self_attention_norm = _norm(config.d_model, dtype, rngs)
        self.self_attention = Attention(config.d_model, config.decoder_heads, dtype=dtype, rngs=rngs)
        self.cross_attention_norm = _norm(config.d_model, dtype, rngs)
        self.cross_attention = Attention(config.d_model, config.decoder_heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = _norm(config.d_model, dtype, rngs)
        self.mlp = Mlp(config.d_model, config.d_mlp, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, cache: LayerCache, slot: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, KeyValue]:
        """Runs tokens [B, T, D] that go to the slots from `slot` on, and see those of `mask`.

        Returns:
            Them, and the grown self-attention cache.
        """
        y = self.self_attention_norm(x)
        new, old = self.self_attention.key_value(y), cache.self_attention
        grown = KeyValue(
            jax.lax.dynamic_update_slice_in_dim(old.key, new.key, slot, axis=2),
            jax.lax.dynamic_update_slice_in_dim(old.value, new.value, slot, axis=2),
        )
        x = x + self.self_attention(y, grown, mask)
        x = x + self.cross_attention(self.cross_attention_norm(x), cache.cross_attention, None)
        return x + self.mlp(self.mlp_norm(x)), grown

    def read(self, x: jax.Array, encoded: jax.Array, heads: Sequence[int]) -> tuple[jax.Array, jax.Array]:
        """Runs whole texts [B, T, D] over the encoded audio [B, 1500, D], each token seeing those before it.

        Returns:
            Them, and the cross-attention's scores of `heads`, float32[B, len(heads), T, 1500].
        """
        y = self.self_attention_norm(x)
        x = x + self.self_attention(y, self.self_attention.key_value(y), jnp.tri(x.shape[1], dtype=bool))
        y, audio = self.cross_attention_norm(x), self.cross_attention.key_value(encoded)
        x = x + self.cross_attention.attend_many(y, audio)
        return x + self.mlp(self.mlp_norm(x)), self.cross_attention.scores(y, audio, heads)


class Decoder(nnx.Module):
    """Tokens so far and the encoded audio to the next token."""

    def __init__(self, config: WhisperConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Embed(config.n_vocab, config.d_model, dtype=dtype, param_dtype=dtype, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((MAX_TEXT_POSITIONS, config.d_model), dtype))
        self.layers = nnx.List(
            DecoderLayer(config, dtype=dtype, rngs=rngs) for _ in range(config.decoder_layers)
        )
        self.norm = _norm(config.d_model, dtype, rngs)

    def init_caches(self, encoded: jax.Array, length: int) -> tuple[LayerCache, ...]:
        """Caches for `length` tokens over the encoded audio [B, 1500, D]; nothing is written yet."""
        batch = encoded.shape[0]
        caches = []
        for layer in self.layers:
            cross = layer.cross_attention.key_value(encoded)
            shape = (batch, layer.self_attention.n_heads, length, cross.key.shape[-1])
            empty = KeyValue(jnp.zeros(shape, encoded.dtype), jnp.zeros(shape, encoded.dtype))
            caches.append(LayerCache(empty, cross))
        return tuple(caches)

    def __call__(
        self,
        tokens: jax.Array,
        position: jax.Array | int,
        caches: tuple[LayerCache, ...],
        n_padding: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[LayerCache, ...]]:
        """Runs tokens int32[B, T] that go to the slots of the caches from `position` on.

        `n_padding` int32[B] slots at the beginning hold nothing and are not seen; None for none of them.

        Returns:
            Logits float32[B, V] of the token that follows the last one, and the caches that now hold these.
        """
        slots = jnp.asarray(position, jnp.int32) + jnp.arange(tokens.shape[1])
        all_slots = jnp.arange(caches[0].self_attention.key.shape[2])
        mask = all_slots <= slots[:, None]
        if n_padding is None:
            places = self.positions[...][slots]
        else:
            places = self.positions[...][jnp.maximum(slots - n_padding[:, None], 0)]
            # A slot of padding sees itself alone: with nothing to see, its softmax would be NaN.
            seen = all_slots >= jnp.minimum(n_padding[:, None], slots)[:, :, None]
            mask = (mask & seen)[:, None]
        x, grown = self._run(self.embedding(tokens) + places, slots[0], mask, caches)
        return self.logits(self.norm(x[:, -1])), grown

    def branch(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        places: jax.Array,
        mask: jax.Array,
        caches: tuple[LayerCache, ...],
    ) -> tuple[jax.Array, tuple[LayerCache, ...]]:
        """Runs the last tokens int32[B, K] of K sequences of each window, as in a beam search.

        They go to K slots of the caches from `slot` on, where all sequences of a window lie side by side:
        what they have in common is there once. `places` int32[B, 1] is each window's place in the text, and
        `mask` bool[B, K, S] tells which slots each sequence is made of, its last token included.

        Returns:
            Logits float32[B, K, V] of what follows each, and the caches that now hold these.
        """
        x = self.embedding(tokens) + self.positions[...][places]
        x, grown = self._run(x, slot, mask[:, None], caches)
        return self.logits(self.norm(x)), grown

    def _run(
        self, x: jax.Array, slot: jax.Array, mask: jax.Array, caches: tuple[LayerCache, ...]
    ) -> tuple[jax.Array, tuple[LayerCache, ...]]:
        grown = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, self_attention = layer(x, cache, slot, mask)
            grown.append(cache._replace(self_attention=self_attention))
        return x, tuple(grown)

    def logits(self, x: jax.Array) -> jax.Array:
        """Normalised states [..., D] to float32[..., V]."""
        return jnp.einsum(
            "...d,vd->...v", x, self.embedding.embedding[...], preferred_element_type=jnp.float32
        )


class Whisper(nnx.Module):
    """Encoder and decoder."""

    def __init__(self, config: WhisperConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(config, dtype=dtype, rngs=rngs)
