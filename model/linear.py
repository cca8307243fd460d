"""Linear layers and embeddings, in each arithmetic of `model.precision`.

Weights are zeros until a checkpoint is loaded: the network is used for inference only.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from model.arithmetic import Arithmetic
from model.precision import Precision, quantize


class Linear(nnx.Module):
    """x @ kernel + bias, from [..., inputs] to [..., outputs]; the kernel is [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, use_bias: bool = True, precision: Precision) -> None:
        self._precision = precision
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs), precision.matrix_dtype))
        if precision.has_scales:
            self.kernel_scale = nnx.Param(jnp.ones(outputs, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, precision.dtype)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., inputs] to [..., outputs] in the dtype of the activations."""
        y = _product(x, self.kernel[...], self._precision, "...i,io->...o")
        if self._precision.has_scales:
            y = y * self.kernel_scale[...]
        y = y.astype(self._precision.dtype)
        return y if self.bias is None else y + self.bias[...]


class Embedding(nnx.Module):
    """Table [n, width] that embeds ids, and projects states to logits; one may do either, or both."""

    def __init__(self, n: int, width: int, *, precision: Precision) -> None:
        self._precision = precision
        self.embedding = nnx.Param(jnp.zeros((n, width), precision.matrix_dtype))
        if precision.has_scales:
            self.embedding_scale = nnx.Param(jnp.ones(n, jnp.float32))

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Looks up ids int32[...], to [..., width] in the dtype of the activations."""
        # Without the barrier XLA converts the whole table first.
        dtype = self._precision.dtype
        vectors: jax.Array = jax.lax.optimization_barrier(self.embedding[...][ids]).astype(dtype)
        if self._precision.has_scales:
            vectors = vectors * self.embedding_scale[...][ids][..., None].astype(dtype)
        return vectors

    def logits(self, x: jax.Array) -> jax.Array:
        """Projects states [..., width] to logits float32[..., n]."""
        scale = self.embedding_scale[...] if self._precision.has_scales else 1
        logits: jax.Array = _product(x, self.embedding[...], self._precision, "...i,oi->...o") * scale
        return logits


def _product(x: jax.Array, weight: jax.Array, precision: Precision, subscripts: str) -> jax.Array:
    """Product of `x` and a weight in float32, without the scale of the weight."""
    if precision.arithmetic is Arithmetic.A8:
        quantized = quantize(x)
        summed = jnp.einsum(subscripts, quantized.values, weight, preferred_element_type=jnp.int32)
        scaled: jax.Array = summed.astype(jnp.float32) * quantized.scale
        return scaled
    if precision.arithmetic is Arithmetic.W8:
        weight = weight.astype(precision.dtype)
    product: jax.Array = jnp.einsum(
        subscripts, x.astype(weight.dtype), weight, preferred_element_type=jnp.float32
    )
    return product
