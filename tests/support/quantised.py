"""The tiny Whisper of `tiny_model` with quantised matrices, and the numbers that these stand for.

The numbers are computed while quantising, by the formula of each format, and not with the project's readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.support.ggml_files import ggml_bytes, q8_0, tensor_bytes
from tests.support.tiny_formats import DIMS, openai_weights, save_mlx
from tests.support.tiny_model import (
    Weights,
    ctranslate2_bytes,
    ctranslate2_variables,
    save_ctranslate2,
    tiny_tokenizer,
)

Floats = NDArray[np.float32]
BLOCK = 32  # numbers that share a scale


class Blocks(NamedTuple):
    """A matrix in a type of ggml, and its numbers."""

    kind: int
    data: bytes
    values: Floats


def q8_0_blocks(matrix: Floats) -> Blocks:
    """`block_q8_0`: a half float, and 32 integers of 8 bits."""
    data = q8_0(matrix)
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    values = blocks[:, 2:].copy().view(np.int8).astype(np.float32) * scale
    return Blocks(8, data, values.reshape(matrix.shape))


def q4_0_blocks(matrix: Floats) -> Blocks:
    """`block_q4_0`: a half float, and 32 integers of 4 bits, those of the first half in the low bits."""
    blocks = matrix.reshape(-1, BLOCK)
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = (furthest / -8).astype(np.float16)
    wide = scale.astype(np.float32)
    integers = np.clip(np.floor(blocks / wide + 8.5), 0, 15).astype(np.uint8)
    packed = integers[:, :16] | integers[:, 16:] << 4
    values = ((integers.astype(np.float32) - 8) * wide).reshape(matrix.shape)
    return Blocks(2, np.concatenate([scale.view(np.uint8), packed], axis=1).tobytes(), values)


def is_matrix(name: str, weight: NDArray[np.generic]) -> bool:
    """Whether a weight of transformers is quantised: those of linear layers and the embedding."""
    return weight.ndim == 2 and "positions" not in name


def quantised_blocks(weights: Weights, quantise: Callable[[Floats], Blocks]) -> dict[str, Blocks]:
    """Returns the matrices among weights in blocks of ggml, by their names."""
    return {name: quantise(weight) for name, weight in weights.items() if is_matrix(name, weight)}


def _save_ggml(folder: Path, weights: Weights, quantise: Callable[[Floats], Blocks]) -> Weights:
    blocks = quantised_blocks(weights, quantise)
    rest = {name: weight for name, weight in weights.items() if name not in blocks}
    content = ggml_bytes(openai_weights(rest), DIMS)
    for name, block in blocks.items():
        (named,) = openai_weights({name: block.values})
        content += tensor_bytes(named, block.values.shape, block.kind, block.data)
    folder.mkdir(parents=True)
    (folder / "ggml-tiny.bin").write_bytes(content)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return {**rest, **{name: block.values for name, block in blocks.items()}}


def save_ggml_q8_0(folder: Path, weights: Weights) -> Weights:
    """A `ggml-*.bin` in `q8_0`; returns the numbers that it stands for."""
    return _save_ggml(folder, weights, q8_0_blocks)


def save_ggml_q4_0(folder: Path, weights: Weights) -> Weights:
    """A `ggml-*.bin` in `q4_0`; returns the numbers that it stands for."""
    return _save_ggml(folder, weights, q4_0_blocks)


def save_mlx_4_bits(folder: Path, weights: Weights) -> Weights:
    """`weights.npz` of MLX in 4 bits, integers packed from the lowest bit on; returns the numbers."""
    save_mlx(folder, weights)
    values = dict(weights)
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    for name, weight in weights.items():
        if not is_matrix(name, weight):
            continue
        groups = weight.reshape(len(weight), -1, BLOCK)
        lowest, highest = groups.min(axis=2), groups.max(axis=2)
        scales = (highest - lowest) / 15
        integers = np.rint((groups - lowest[..., None]) / scales[..., None])
        values[name] = (integers * scales[..., None] + lowest[..., None]).reshape(weight.shape)
        shifted = integers.astype(np.uint32).reshape(len(weight), -1, 8) << np.arange(0, 32, 4, np.uint32)
        (named,) = openai_weights({name: weight})
        module = named.replace("mlp.0", "mlp1").replace("mlp.2", "mlp2").removesuffix(".weight")
        arrays[f"{module}.weight"] = shifted.sum(axis=2, dtype=np.uint32)
        arrays |= {f"{module}.scales": scales, f"{module}.biases": lowest}
    np.savez(folder / "weights.npz", **arrays)
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"group_size": BLOCK, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    return values


def _save_ctranslate2(
    folder: Path, weights: Weights, scale_of: Callable[[Floats], Floats], dtype: type[np.signedinteger[Any]]
) -> Weights:
    """Writes a `model.bin` of integers; `scale_of` a matrix is one for each row, or one for all."""
    stored = ctranslate2_variables(weights)
    for name, variable in list(stored.items()):
        if variable.ndim == 2 and name.endswith("weight"):
            scale = scale_of(np.asarray(variable, np.float32))
            stored[name] = np.rint(variable * scale.reshape(-1, 1)).astype(dtype)
            stored[f"{name}_scale"] = scale
    save_ctranslate2(folder, weights)
    (folder / "model.bin").write_bytes(ctranslate2_bytes(stored))
    values = dict(weights)
    for name, weight in weights.items():
        if is_matrix(name, weight):
            scale = scale_of(weight).reshape(-1, 1)
            values[name] = np.rint(weight * scale) / scale
    return values


def save_ctranslate2_int8(folder: Path, weights: Weights) -> Weights:
    """A `model.bin` in 8 bits, with a scale for each row; returns the numbers that it stands for."""
    return _save_ctranslate2(folder, weights, lambda matrix: 127 / np.abs(matrix).max(axis=1), np.int8)


def save_ctranslate2_int16(folder: Path, weights: Weights) -> Weights:
    """A `model.bin` in 16 bits, with one scale for a matrix; returns the numbers that it stands for."""
    return _save_ctranslate2(folder, weights, lambda _: np.array([512], np.float32), np.int16)


QUANTISED: Mapping[str, Callable[[Path, Weights], Weights]] = {
    "ggml q8_0": save_ggml_q8_0,
    "ggml q4_0": save_ggml_q4_0,
    "mlx, 4 bits": save_mlx_4_bits,
    "ctranslate2 int8": save_ctranslate2_int8,
    "ctranslate2 int16": save_ctranslate2_int16,
}
