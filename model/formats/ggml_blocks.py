"""Numbers in ggml's quantised types, to float32.

A row is cut into blocks of 32 or 256 numbers; a block has small integers, packed, and their scales. Source:
the structs `block_*` in `ggml-common.h`, and `dequantize_row_*` in `ggml-quants.c`, of ggml-org/ggml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class BlockType(NamedTuple):
    """A quantised type.

    Attributes:
        n_values: numbers in a block.
        n_bytes: bytes of a block.
        values: maps blocks, uint8[n, n_bytes], to their numbers, float32[n, n_values].
    """

    n_values: int
    n_bytes: int
    values: Callable[[Bytes], Floats]


def dequantize(kind: BlockType, content: Bytes, shape: tuple[int, ...]) -> Floats:
    """Returns the numbers of an array, float32 of `shape`.

    Args:
        kind: its type.
        content: its blocks, one behind the other; their number is that of `shape`.
        shape: its last axis divides into blocks.
    """
    return kind.values(content.reshape(-1, kind.n_bytes)).reshape(shape)


def _half(blocks: Bytes, start: int) -> Floats:
    """The float16 at a byte of each block, float32[n, 1]."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def _fields(packed: Bytes, group: int, bits: int) -> Bytes:
    """Unpacks fields of `bits`: of each `group` bytes the lowest fields, then the next ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    fields = packed.reshape(len(packed), -1, 1, group) >> shifts & np.uint8(2**bits - 1)
    return fields.reshape(len(packed), -1)


def _fifth_bits(packed: Bytes) -> Bytes:
    return np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little") << np.uint8(4)


def _scaled(q: NDArray[np.generic], scale: Floats, minimum: Floats | None = None) -> Floats:
    """Multiplies numbers [n, k] by scales [n, groups], and subtracts a minimum of the same shape."""
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged scales
        grouped = q.astype(np.float32).reshape(*scale.shape, -1) * scale[..., None]
        if minimum is not None:
            grouped -= minimum[..., None]
    return grouped.reshape(q.shape)


def _product(scale: Floats, factors: NDArray[np.integer]) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged scales
        return np.asarray(scale * factors, np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return _scaled(_fields(blocks[:, 2:], 16, 4).astype(np.int8) - 8, _half(blocks, 0))


def _q4_1(blocks: Bytes) -> Floats:
    return _scaled(_fields(blocks[:, 4:], 16, 4), _half(blocks, 0), -_half(blocks, 2))


def _q5_0(blocks: Bytes) -> Floats:
    q = _fields(blocks[:, 6:], 16, 4) | _fifth_bits(blocks[:, 2:6])
    return _scaled(q.astype(np.int8) - 16, _half(blocks, 0))


def _q5_1(blocks: Bytes) -> Floats:
    q = _fields(blocks[:, 8:], 16, 4) | _fifth_bits(blocks[:, 4:8])
    return _scaled(q, _half(blocks, 0), -_half(blocks, 2))


def _q8_0(blocks: Bytes) -> Floats:
    return _scaled(blocks[:, 2:].view(np.int8), _half(blocks, 0))


def _q2_k(blocks: Bytes) -> Floats:
    scales = blocks[:, :16]
    scale, minimum = _product(_half(blocks, 80), scales & 15), _product(_half(blocks, 82), scales >> 4)
    return _scaled(_fields(blocks[:, 16:80], 32, 2), scale, minimum)


def _q3_k(blocks: Bytes) -> Floats:
    q = (
        _fields(blocks[:, 32:96], 32, 2).astype(np.int8)
        + 4 * _fields(blocks[:, :32], 32, 1).astype(np.int8)
        - 4
    )
    scales = _fields(blocks[:, 96:104], 8, 4) | _fields(blocks[:, 104:108], 4, 2) << np.uint8(4)
    return _scaled(q, _product(_half(blocks, 108), scales.astype(np.int8) - 32))


def _six_bit_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """The 8 scales and minima in bytes 4 to 16, each of 6 bits."""
    first, second, both = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([first & 63, both & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, both >> 4 | second >> 6 << 4], axis=1)
    return _product(_half(blocks, 0), scales), _product(_half(blocks, 2), minima)


def _q4_k(blocks: Bytes) -> Floats:
    return _scaled(_fields(blocks[:, 16:], 32, 4), *_six_bit_scales(blocks))


def _q5_k(blocks: Bytes) -> Floats:
    q = _fields(blocks[:, 48:], 32, 4) | _fields(blocks[:, 16:48], 32, 1) << np.uint8(4)
    return _scaled(q, *_six_bit_scales(blocks))


def _q6_k(blocks: Bytes) -> Floats:
    q = _fields(blocks[:, :128], 64, 4) | _fields(blocks[:, 128:192], 32, 2) << np.uint8(4)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
    return _scaled(q.astype(np.int8) - 32, _product(_half(blocks, 208), scales))


BLOCK_TYPES = {
    2: BlockType(32, 18, _q4_0),
    3: BlockType(32, 20, _q4_1),
    6: BlockType(32, 22, _q5_0),
    7: BlockType(32, 24, _q5_1),
    8: BlockType(32, 34, _q8_0),
    10: BlockType(256, 84, _q2_k),
    11: BlockType(256, 110, _q3_k),
    12: BlockType(256, 144, _q4_k),
    13: BlockType(256, 176, _q5_k),
    14: BlockType(256, 210, _q6_k),
}
"""Quantised types by their numbers in `enum ggml_type`."""
