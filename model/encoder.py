"""Audio encoder: log-mel frames to one vector per 20 ms.

B is windows in the batch, T positions, D `d_model`, H heads, K the width of a head.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from model.config import N_POSITIONS, WhisperConfig
from model.layers import Attention, Mlp, Weights, gelu, layer_norm
from model.linear import Linear
from model.precision import Precision, from_bits, to_bits


class Convolution(Linear):
    """Convolution of width 3, with a frame of zeros at both ends; the kernel is [3 inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, precision: Precision) -> None:
        super().__init__(3 * inputs, outputs, precision=precision)
        self._stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, inputs] to [B, T / stride, outputs]."""
        dtype = self._precision.operand_dtype
        # Without the barrier XLA computes what is before it, such as a GELU, for each of the three frames.
        bits = jax.lax.optimization_barrier(to_bits(x.astype(dtype)))
        length, padded = x.shape[1], jnp.pad(bits, ((0, 0), (1, 1), (0, 0)))
        frames = [padded[:, shift : shift + length : self._stride] for shift in range(3)]
        return super().__call__(from_bits(jnp.concatenate(frames, axis=-1), dtype))


class EncoderLayer(nnx.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.attention_norm = layer_norm(config.d_model, precision)
        self.attention = Attention(config.d_model, config.encoder_heads, precision=precision)
        self.mlp_norm = layer_norm(config.d_model, precision)
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
        self.norm = layer_norm(config.d_model, precision)

    def __call__(self, mels: jax.Array) -> jax.Array:
        """Encodes [B, n_mels, F] to [B, F / 2, D]; F is even, and at most 3000.

        Raises:
            ValueError: F is odd, or out of range.
        """
        n_frames = mels.shape[2]
        if n_frames % 2 or not 0 < n_frames <= 2 * N_POSITIONS:
            raise ValueError(f"{n_frames} frames: an even number up to {2 * N_POSITIONS} was expected")
        x = gelu(self.conv1(mels.swapaxes(1, 2)))
        x = gelu(self.conv2(x))
        x = x + self.positions[: n_frames // 2]
        for layer in self.layers:
            x = _encoder_layer(*nnx.split(layer), x)
        encoded: jax.Array = self.norm(x)
        return encoded


# Under `jit`, layers of the same shape are traced and lowered once, not each: half of a program's start-up.
@functools.partial(jax.jit, static_argnums=0)
def _encoder_layer(graph: nnx.GraphDef[EncoderLayer], weights: Weights, x: jax.Array) -> jax.Array:
    return nnx.merge(graph, weights)(x)
