"""Reader of whisper.cpp's `ggml-*.bin`: sizes, mel filters, vocabulary and tensors, one behind the other.

The format (little endian): u32 magic; 11 i32 sizes; i32 rows and columns of the mel filters, and their
floats; i32 number of text tokens, and of each its u32 length and bytes; then up to the end, of each tensor,
i32 number of dimensions, i32 length of its name, i32 type, its dimensions (i32, the last axis first), name
and data. Names are those of openai/whisper. Source: `whisper_model_load` in whisper.cpp, and its
`convert-pt-to-ggml.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.formats.ggml_blocks import BLOCK_TYPES, dequantize
from model.formats.mapped_file import FormatError, MappedFile
from model.formats.openai import OpenAIModel, network_weights, read_config

MAGIC = b"lmgg"  # 0x67676d6c
_SIZES = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx", "n_text_state",
    "n_text_head", "n_text_layer", "n_mels", "ftype",
)  # fmt: skip
DTYPES: dict[int, DTypeLike] = {0: np.float32, 1: np.float16, 30: ml_dtypes.bfloat16}
"""Types of numbers that are not quantised, by their numbers in `enum ggml_type`."""
_MAX_TOKENS = 100_000  # the vocabularies of Whisper have 50,257
_MAX_TENSORS = 100_000  # large-v3 has 1,259
_MAX_RANK, _MAX_NAME = 4, 1000


@dataclass(frozen=True)
class GgmlTensor:
    """A tensor of a mapped file.

    Attributes:
        shape: as numpy has it, the last axis last.
        kind: number of its type in `enum ggml_type`.
        offset: its first byte.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def n_bytes(self) -> int:
        """The bytes of its data.

        Raises:
            FormatError: its type is unknown, or its rows do not divide into blocks.
        """
        if self.kind in DTYPES:
            return math.prod(self.shape) * np.dtype(DTYPES[self.kind]).itemsize
        if self.kind not in BLOCK_TYPES:
            raise FormatError(f"a tensor in it has the type {self.kind} of ggml, which is not read")
        block = BLOCK_TYPES[self.kind]
        if not self.shape or self.shape[-1] % block.n_values:
            raise FormatError(f"a tensor in it of shape {self.shape} does not divide into blocks of its type")
        return math.prod(self.shape) // block.n_values * block.n_bytes

    def read(self, file: MappedFile) -> NDArray[np.generic]:
        """Returns its numbers; of quantised types in float32, of others not copied."""
        if self.kind in DTYPES:
            return file.array(self.offset, DTYPES[self.kind], self.shape)
        file.position = self.offset
        return dequantize(BLOCK_TYPES[self.kind], file.slice(self.n_bytes), self.shape)


def open_ggml(path: Path) -> OpenAIModel:
    """Opens a model of whisper.cpp.

    Raises:
        FormatError: another format, or damage.
    """
    file = MappedFile(path)
    if file.read(4) != MAGIC:
        raise FormatError(f"{path.name} is no model of whisper.cpp")
    sizes = dict(zip(_SIZES, file.unpack(f"{len(_SIZES)}i"), strict=True))
    del sizes["n_text_ctx"]  # converters write the length of another limit here
    try:
        config = read_config(sizes)
    except ValueError as error:
        raise FormatError(f"{path.name}: {error}") from error
    n_rows, n_columns = _counts(file, 2)
    file.slice(4 * n_rows * n_columns)  # mel filters, which are computed here
    vocabulary = _vocabulary(file)
    tensors = _tensors(file)

    def read() -> Iterator[tuple[str, NDArray[np.generic]]]:
        arrays = ((name, tensor.read(file)) for name, tensor in tensors.items())
        # Biases of convolutions have a second axis of length 1.
        yield from network_weights((n, a.reshape(-1) if n.endswith(".bias") else a) for n, a in arrays)

    return OpenAIModel(config, (path,), read, vocabulary=vocabulary or None)


def _vocabulary(file: MappedFile) -> tuple[bytes, ...]:
    (n_tokens,) = _counts(file, 1)
    if n_tokens > _MAX_TOKENS:
        raise FormatError(f"it claims {n_tokens} tokens")
    return tuple(_token(file) for _ in range(n_tokens))


def _token(file: MappedFile) -> bytes:
    (length,) = file.unpack("I")
    if length > _MAX_NAME:
        raise FormatError(f"it claims a token of {length} bytes")
    return file.read(length)


def _tensors(file: MappedFile) -> dict[str, GgmlTensor]:
    tensors: dict[str, GgmlTensor] = {}
    while file.position < file.size:
        rank, n_name, kind = _counts(file, 3)
        if rank > _MAX_RANK or n_name > _MAX_NAME:
            raise FormatError(f"it claims a tensor of {rank} dimensions, with a name of {n_name} bytes")
        shape = _counts(file, rank)[::-1]
        try:
            name = file.read(n_name).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"a name in it is not UTF-8: {error}") from None
        tensor = GgmlTensor(shape, kind, file.position)
        file.slice(tensor.n_bytes)
        if name in tensors or len(tensors) >= _MAX_TENSORS:
            raise FormatError(f"it has more than {_MAX_TENSORS} tensors, or {name!r:.100} twice")
        tensors[name] = tensor
    return tensors


def _counts(file: MappedFile, number: int) -> tuple[int, ...]:
    values = file.unpack(f"{number}i")
    if any(value < 0 for value in values):
        raise FormatError(f"it has the number {min(values)}, where a size was expected: it is damaged")
    return values
