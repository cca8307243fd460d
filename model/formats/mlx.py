"""Reader of MLX's weights: safetensors or `weights.npz`, with openai/whisper's sizes in `config.json`.

Names are openai/whisper's. A quantised matrix has `weight`, uint32 with its integers packed from the lowest
bit on, and `scales` and `biases` for each group of numbers in a row: number = integer * scale + bias.
Sources: `mlx_whisper/load_models.py` of ml-explore/mlx-examples, and `mlx.core.quantize`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from model.config import N_POSITIONS
from model.formats.contents import read_json
from model.formats.mapped_file import FormatError
from model.formats.openai import OpenAIModel, network_weights, read_config
from model.formats.stored_zip import StoredZip

WEIGHT_FILES = ("weights.safetensors", "weights.npz")
"""Files of weights beside `model.safetensors`."""

_HEADS = "alignment_heads"
_MAX_HEADS = 10_000
_MAX_HEADER = 1000  # bytes of the header of an array in an npz; those of weights have 128
_NPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|\x02\x00....)"
    rb"\{'descr': '(?P<dtype>[<|][fiu][1248])', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]{0,100})\),? ?\} *\n",
    re.DOTALL,
)
_QUANTISED = (".scales", ".biases")

Arrays = Iterator[tuple[str, NDArray[np.generic]]]


def open_mlx(folder: Path, files: Sequence[Path]) -> OpenAIModel:
    """Opens a model of mlx-whisper.

    Raises:
        FormatError: no config, or damage.
    """
    if not (folder / "config.json").is_file():
        raise FormatError(f"{folder} has no config.json")
    if missing := [file.name for file in files if not file.is_file()]:
        raise FormatError(f"{folder} lacks the shards {', '.join(missing)}")
    values = read_json(folder / "config.json")
    try:
        config = read_config(values)
    except ValueError as error:
        raise FormatError(f"invalid config: {error}") from error
    group_size = group_size_of(values)

    def read() -> Arrays:
        yield from network_weights((n, a) for n, a in tensors(files, group_size) if n != _HEADS)
        yield "encoder.positions", sinusoids(N_POSITIONS, config.d_model)

    return OpenAIModel(config, tuple(files), read, _alignment_heads(files))


def group_size_of(values: Mapping[str, Any]) -> int:
    """Returns how many numbers share a scale, from the content of `config.json`; 0 if none is quantised.

    Raises:
        FormatError: a kind of quantisation that is not read.
    """
    quantization = values.get("quantization")
    if quantization is None:
        return 0
    size = quantization.get("group_size") if isinstance(quantization, dict) else None
    if type(size) is not int or size < 1 or quantization.get("mode", "affine") != "affine":
        raise FormatError(f"its config.json has the quantization {quantization!r:.200}, which is not read")
    return size


def tensors(
    files: Sequence[Path], group_size: int, is_read: Callable[[str], bool] = lambda _: True
) -> Arrays:
    """Yields the names and the numbers of weights whose names satisfy `is_read`; quantised ones in float32.

    Raises:
        FormatError: damage, or a quantised weight whose scales do not match it.
    """
    for file in files:
        with _Arrays(file) as arrays:
            for name in arrays.names:
                if not name.endswith(_QUANTISED) and is_read(name):
                    module = name.removesuffix(".weight")
                    is_quantised = f"{module}.scales" in arrays.names and module != name
                    yield (
                        name,
                        _dequantised(arrays, module, group_size) if is_quantised else arrays.read(name),
                    )


def sinusoids(length: int, channels: int) -> NDArray[np.float32]:
    """Returns the encoder's positions, which MLX does not store: `sinusoids` of whisper/model.py."""
    steps = np.arange(channels // 2, dtype=np.float32)
    increment = math.log(10_000) / max(channels // 2 - 1, 1)
    times = np.arange(length, dtype=np.float32)[:, None] * np.exp(-increment * steps, dtype=np.float32)
    return np.concatenate([np.sin(times), np.cos(times)], axis=1)


class _Arrays:
    """The arrays of a safetensors file or an npz."""

    def __init__(self, path: Path) -> None:
        self._is_zip = path.suffix == ".npz"
        self._file: Any
        if self._is_zip:
            self._file = StoredZip(path)
            self.names = dict.fromkeys(name.removesuffix(".npy") for name in self._file)
        else:
            self._file = safe_open(path, framework="numpy")
            self.names = dict.fromkeys(self._file.keys())

    def __enter__(self) -> _Arrays:
        if not self._is_zip:
            self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._is_zip:
            self._file.__exit__(*error)

    def read(self, name: str) -> NDArray[np.generic]:
        if not self._is_zip:
            array: NDArray[np.generic] = self._file.get_tensor(name)
            return array
        return _array_in(name, self._file.slice(f"{name}.npy"))


def _array_in(name: str, content: NDArray[np.uint8]) -> NDArray[np.generic]:
    """Returns the array in the bytes of an `.npy`, which are not copied. Source: `numpy/lib/format.py`."""
    start = content[:_MAX_HEADER].tobytes()
    header = _NPY_HEADER.match(start)
    if header is None:
        raise FormatError(f"the array {name!r:.100} in it has no header that numpy writes for numbers")
    dtype, shape = np.dtype(header["dtype"].decode()), tuple(map(int, re.findall(rb"\d+", header["shape"])))
    data = content[header.end() :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise FormatError(f"the array {name!r:.100} in it has {len(data)} bytes, not those of {shape!r:.100}")
    if not len(data):
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, data, order="F" if header["fortran"] == b"True" else "C")


def _alignment_heads(files: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    for file in files:
        with _Arrays(file) as arrays:
            if _HEADS in arrays.names:
                heads = arrays.read(_HEADS)
                if heads.ndim != 2 or heads.shape[1] != 2 or heads.dtype.kind not in "iu":
                    raise FormatError(f"its {_HEADS} have the shape {heads.shape}")
                return tuple((int(layer), int(head)) for layer, head in heads[:_MAX_HEADS])
    return ()


def _dequantised(arrays: _Arrays, module: str, group_size: int) -> NDArray[np.generic]:
    packed, scales = arrays.read(f"{module}.weight"), arrays.read(f"{module}.scales").astype(np.float32)
    biases = (
        arrays.read(f"{module}.biases").astype(np.float32) if f"{module}.biases" in arrays.names else None
    )
    problem = f"the quantised matrix {module!r:.100} does not match its scales"
    if biases is None or packed.dtype != np.uint32 or packed.ndim != 2 or scales.shape != biases.shape:
        raise FormatError(problem)
    rows, n_bits = packed.shape[0], packed.shape[1] * 32
    n_values = scales.shape[1] * group_size if scales.ndim == 2 and scales.shape[0] == rows else 0
    bits = n_bits // n_values if n_values else 0
    if bits not in (2, 3, 4, 5, 6, 8) or bits * n_values != n_bits:
        raise FormatError(problem)
    fields = np.unpackbits(np.ascontiguousarray(packed).view(np.uint8), axis=1, bitorder="little")
    integers = np.packbits(fields.reshape(rows, n_values, bits), axis=2, bitorder="little")
    grouped = integers.reshape(rows, -1, group_size).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged scales
        return (grouped * scales[..., None] + biases[..., None]).reshape(rows, n_values)
