"""What the matrix products are computed in, and how numbers get into 8 bits.

W8A8 as in Dettmers et al., "LLM.int8()" (2022), section 2.1, without its outliers: a weight has a scale for
each output, an activation one for each token, and products are summed in 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

_LARGEST = 127  # of the 256 values, -128 is left out: symmetric
_TINY = 1e-12  # a row of zeros has a scale too


class Arithmetic(StrEnum):
    """What the matrix products are computed in."""

    NONE = "none"
    """The dtype of the activations."""
    BF16 = "bf16"
    """bfloat16 operands, float32 sums and activations."""
    A8 = "a8"
    """8-bit weights and activations, 32-bit sums: W8A8."""
    BF16_A8 = "bf16-a8"
    """bfloat16 in the encoder, 8 bits in the decoder."""
    W8 = "w8"
    """8-bit weights, which are widened to the dtype of the activations: for memory alone."""


@dataclass(frozen=True)
class Precision:
    """How a network computes.

    Attributes:
        dtype: of the activations, and of weights that are no matrices.
        arithmetic: of the matrix products.
    """

    dtype: np.dtype[Any]
    arithmetic: Arithmetic = Arithmetic.NONE

    @property
    def of_encoder(self) -> Precision:
        """How the encoder computes."""
        return self._with(Arithmetic.BF16) if self.arithmetic is Arithmetic.BF16_A8 else self

    @property
    def of_decoder(self) -> Precision:
        """How the decoder computes."""
        return self._with(Arithmetic.A8) if self.arithmetic is Arithmetic.BF16_A8 else self

    def _with(self, arithmetic: Arithmetic) -> Precision:
        return replace(self, arithmetic=arithmetic)

    @property
    def matrix_dtype(self) -> np.dtype[Any]:
        """What the weights of matrix products are stored in."""
        if self.has_scales:
            return np.dtype(np.int8)
        return np.dtype(jnp.bfloat16) if self.arithmetic is Arithmetic.BF16 else self.dtype

    @property
    def has_scales(self) -> bool:
        """Whether the weights of matrix products come with scales."""
        return self.arithmetic in (Arithmetic.A8, Arithmetic.W8)

    @property
    def attention_dtype(self) -> np.dtype[Any]:
        """Of the products of the encoder's attention: 8 bits are not faster there."""
        return self.dtype if self.arithmetic in (Arithmetic.NONE, Arithmetic.W8) else np.dtype(jnp.bfloat16)

    @property
    def small_memory(self) -> bool:
        """Whether what the decoder remembers of the audio is held in 8 bits: it is read at every token."""
        return self.arithmetic in (Arithmetic.A8, Arithmetic.BF16)


def choose_arithmetic(quantization: str, dtype: str, *, backend: str, features: frozenset[str]) -> Arithmetic:
    """What `--quantization` means on this machine.

    `auto` is what was measured to be fastest where it costs no accuracy (docs/performance.md). XLA multiplies
    8 bits ten times as fast as float32 on AMX, where it has no fast path for bfloat16. Without AMX the latter
    is faster where the processor computes, in the encoder, and 8 bits where it waits for memory, in the
    decoder. A dtype that somebody chose is not second-guessed.

    Args:
        quantization: `auto`, or a value of `Arithmetic`.
        dtype: as in `TranscriberSettings`.
        backend: JAX's name for it.
        features: of the processor, as Linux names them.

    Raises:
        ValueError: the quantization is unknown.
    """
    if quantization != "auto":
        if quantization not in set(Arithmetic):
            raise ValueError(f"quantization {quantization!r} is unknown; use auto, {', '.join(Arithmetic)}")
        return Arithmetic(quantization)
    if backend != "cpu" or dtype != "auto":
        return Arithmetic.NONE
    if "amx_int8" in features:
        return Arithmetic.A8
    if "avx512_bf16" in features:
        return Arithmetic.BF16_A8
    return Arithmetic.A8 if {"avx512_vnni", "avx_vnni"} & features else Arithmetic.NONE


class Rows(NamedTuple):
    """A matrix in 8 bits: `values` int8, times `scale`, float32, which broadcasts against it."""

    values: jax.Array
    scale: jax.Array


def quantize_weight(
    weight: NDArray[np.generic], *, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight of rank 2 in 8 bits, with one scale for all values along `axis`, which is summed over."""
    wide = np.asarray(weight, np.float32)
    scale = np.maximum(np.abs(wide).max(axis=axis, keepdims=True), _TINY) / _LARGEST
    return np.rint(wide / scale).astype(np.int8), np.squeeze(scale, axis)


def quantize(x: jax.Array, *, axis: int = -1) -> Rows:
    """Values in 8 bits, with one scale for all along `axis`, which stays, of length 1."""
    wide = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(wide).max(axis=axis, keepdims=True), _TINY) / _LARGEST
    return Rows(jnp.rint(wide / scale).astype(jnp.int8), scale)


def in_two_digits(x: jax.Array) -> Rows:
    """Rows [..., T, K] as twice as many of 8 bits, [..., 2 T, K]: first the high digits, then the low ones.

    Together they are worth 15 bits. Two digits of one row cost what one does, as XLA has no fast product of
    a single row with an 8-bit matrix; see `sum_digits`.
    """
    high = quantize(x)
    low = jnp.rint((x / high.scale - high.values) * (2 * _LARGEST)).astype(jnp.int8)
    return Rows(jnp.concatenate([high.values, low], axis=-2), high.scale)


def sum_digits(products: jax.Array, scale: jax.Array) -> jax.Array:
    """Products of rows in two digits, int32[..., 2 T, N], as those of the rows, float32[..., T, N]."""
    high, low = jnp.split(products.astype(jnp.float32), 2, axis=-2)
    summed: jax.Array = (high + low / (2 * _LARGEST)) * scale
    return summed
