"""The arithmetic of the matrix products: its choice for a machine, and what it is in words. No JAX."""

from __future__ import annotations

from enum import StrEnum

from model.cpu_features import processor
from model.interface import AUTO


class Arithmetic(StrEnum):
    """Arithmetic of the matrix products with weights."""

    NONE = "none"
    """The dtype of the activations."""
    BF16 = "bf16"
    """bfloat16 operands, float32 sums and activations."""
    A8 = "a8"
    """8-bit weights and activations, 32-bit sums: W8A8."""
    BF16_A8 = "bf16-a8"
    """bfloat16 in the encoder, 8 bits in the decoder."""
    W8 = "w8"
    """8-bit weights, widened to the dtype of the activations: saves memory only."""


def choose_arithmetic(quantization: str, dtype: str, *, backend: str, features: frozenset[str]) -> Arithmetic:
    """Resolves `--quantization` for this machine.

    `auto` is the arithmetic that was measured to be fastest without loss of accuracy (docs/performance.md).
    XLA multiplies 8-bit numbers ten times as fast as float32 on AMX, where it has no fast path for bfloat16.
    Without AMX, bfloat16 is faster in the encoder, which is bound by arithmetic, and 8 bits in the decoder,
    which is bound by memory. On ARM nothing was measured, and it is float32. A dtype that the user chose
    explicitly is kept.

    Args:
        quantization: `auto`, or a value of `Arithmetic`.
        dtype: see `ModelOptions`.
        backend: JAX's name of the backend.
        features: instruction sets of the processor, as Linux names them.

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


def describe_arithmetic(
    quantization: str, dtype: str, *, backend: str, features: frozenset[str], activations: str
) -> str:
    """Returns what a model computes with, and why, for users.

    Args:
        quantization: see `choose_arithmetic`.
        dtype: likewise.
        backend: likewise.
        features: likewise.
        activations: dtype of the activations.

    Raises:
        ValueError: the quantization is unknown.
    """
    arithmetic = choose_arithmetic(quantization, dtype, backend=backend, features=features)
    numbers = {
        Arithmetic.NONE: activations,
        Arithmetic.BF16: "bfloat16 products",
        Arithmetic.A8: "8-bit weights and activations",
        Arithmetic.W8: f"8-bit weights, {activations} products",
    }
    if arithmetic is Arithmetic.BF16_A8:
        parts = f"encoder {numbers[Arithmetic.BF16]}, decoder {numbers[Arithmetic.A8]}"
    else:
        parts = f"encoder and decoder {numbers[arithmetic]}"
    if quantization != AUTO:
        return f"{parts} ({arithmetic}, as it was asked for)"
    if backend != "cpu" or dtype != AUTO:
        return parts
    return f"{parts} ({arithmetic}, chosen for {processor(features)})"
