"""Number formats of the matrix products, and quantisation to 8 bits.

W8A8 as in Dettmers et al., "LLM.int8()" (2022), section 2.1, without its outliers: a weight has one scale per
output, an activation one per token, and products are summed in 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.arithmetic import Arithmetic

_MAX_INT8 = 127  # -128 is not used: symmetric quantisation
_MIN_ABS_MAX = 1e-12  # keeps the scale of a row of zeros above zero


class EncoderAttention(StrEnum):
    """Implementation of the encoder's self-attention (`model.long_attention`)."""

    BY_HEAD = "by-head"
    """Head by head, so that scores stay in the cache of a processor."""
    BLOCKED = "blocked"
    """Block by block of queries, all heads at once: for accelerators."""
    CUDNN = "cudnn"
    """cuDNN's fused attention, which keeps the scores on the chip: for float16 and bfloat16."""


@dataclass(frozen=True)
class Precision:
    """Numeric precision of a network, and what its encoder's attention is computed with.

    Attributes:
        dtype: dtype of the activations, and of weights that are not matrices.
        arithmetic: arithmetic of the matrix products.
        attention: implementation of the encoder's self-attention; see `model.attention_choice`.
    """

    dtype: np.dtype[Any]
    arithmetic: Arithmetic = Arithmetic.NONE
    attention: EncoderAttention = EncoderAttention.BY_HEAD

    @property
    def for_encoder(self) -> Precision:
        """Precision of the encoder."""
        return self._with(Arithmetic.BF16) if self.arithmetic is Arithmetic.BF16_A8 else self

    @property
    def for_decoder(self) -> Precision:
        """Precision of the decoder."""
        return self._with(Arithmetic.A8) if self.arithmetic is Arithmetic.BF16_A8 else self

    def _with(self, arithmetic: Arithmetic) -> Precision:
        return replace(self, arithmetic=arithmetic)

    @property
    def matrix_dtype(self) -> np.dtype[Any]:
        """Dtype in which the weights of matrix products are stored."""
        if self.has_scales:
            return np.dtype(np.int8)
        return np.dtype(jnp.bfloat16) if self.arithmetic is Arithmetic.BF16 else self.dtype

    @property
    def operand_dtype(self) -> np.dtype[Any]:
        """Dtype to which an input of a product with weights may be rounded before, without a further error.

        In 8 bits the activations' dtype: rounding to bfloat16 first made the encoder's error a tenth larger.
        """
        return self.matrix_dtype if self.arithmetic is Arithmetic.BF16 else self.dtype

    @property
    def has_scales(self) -> bool:
        """Whether the weights of matrix products come with scales."""
        return self.arithmetic in (Arithmetic.A8, Arithmetic.W8)

    @property
    def attention_dtype(self) -> np.dtype[Any]:
        """Dtype of the products in the encoder's attention, where 8 bits are not faster."""
        return self.dtype if self.arithmetic in (Arithmetic.NONE, Arithmetic.W8) else np.dtype(jnp.bfloat16)

    @property
    def has_quantized_kv(self) -> bool:
        """Whether the cross-attention K/V cache is stored in 8 bits: it is read at every token."""
        return self.arithmetic in (Arithmetic.A8, Arithmetic.BF16)


class QuantizedArray(NamedTuple):
    """An array in 8 bits: `values` int8 times `scale` float32, which broadcasts against them."""

    values: jax.Array
    scale: jax.Array


def quantize_weight(
    weight: NDArray[np.generic], *, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantises a weight of rank 2 to 8 bits, with one scale along `axis`, which the product sums over."""
    wide = np.asarray(weight, np.float32)
    scale = np.maximum(np.abs(wide).max(axis=axis, keepdims=True), _MIN_ABS_MAX) / _MAX_INT8
    return np.rint(wide / scale).astype(np.int8), np.squeeze(scale, axis)


def quantize(x: jax.Array, *, axis: int = -1) -> QuantizedArray:
    """Quantises values to 8 bits, with one scale along `axis`, which is kept with length 1."""
    wide = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(wide).max(axis=axis, keepdims=True), _MIN_ABS_MAX) / _MAX_INT8
    return QuantizedArray(jnp.rint(wide / scale).astype(jnp.int8), scale)


def split_digits(x: jax.Array) -> QuantizedArray:
    """Splits rows [..., T, K] into two 8-bit digits, [..., 2 T, K]: all high digits, then all low ones.

    Two digits have 15 bits of precision. They cost no more than one, because XLA has no fast product of a
    single row with an 8-bit matrix. See `sum_digits`.
    """
    high = quantize(x)
    low = jnp.rint((x / high.scale - high.values) * (2 * _MAX_INT8)).astype(jnp.int8)
    return QuantizedArray(jnp.concatenate([high.values, low], axis=-2), high.scale)


def sum_digits(products: jax.Array, scale: jax.Array) -> jax.Array:
    """Joins products of digits, int32[..., 2 T, N], to the products of the rows, float32[..., T, N]."""
    high, low = jnp.split(products.astype(jnp.float32), 2, axis=-2)
    summed: jax.Array = (high + low / (2 * _MAX_INT8)) * scale
    return summed


def to_bits(x: jax.Array) -> jax.Array:
    """Returns 2-byte floats as integers, and others as they are; see `from_bits`.

    XLA:CPU widens 2-byte floats to float32 to copy, slice or transpose them. Integers stay 2 bytes wide.
    """
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype.itemsize == 2 else x


def from_bits(bits: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Returns the floats of `dtype` from `to_bits`."""
    return jax.lax.bitcast_convert_type(bits, dtype) if jnp.dtype(dtype).itemsize == 2 else bits
