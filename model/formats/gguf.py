"""Reader of GGUF files of Whisper, as candle and other programs write them: transformers' or OpenAI's names.

The format (little endian): magic; u32 version; u64 numbers of tensors and of metadata; metadata as string
key, u32 type, value; of each tensor string name, u32 number of dimensions, its dimensions (u64, the last axis
first), u32 type, u64 offset; then, aligned, their data. A string is a u64 length and its bytes. Source:
`docs/gguf.md` of ggml-org/ggml. Programs do not agree on metadata of Whisper, so that the sizes follow from
the shapes; only the number of heads is read, where a file has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.config import WhisperConfig
from model.formats import huggingface, openai
from model.formats.ggml import GgmlTensor
from model.formats.mapped_file import FormatError, MappedFile
from model.formats.openai import OpenAIModel

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HEAD_WIDTH = 64  # of each Whisper model
_N_BYTES = {
    0: 1,
    1: 1,
    2: 2,
    3: 2,
    4: 4,
    5: 4,
    6: 4,
    7: 1,
    10: 8,
    11: 8,
    12: 8,
}  # of metadata, by their types
_UINT32, _STRING, _ARRAY = 4, 8, 9
_INTEGERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
_HEADS = re.compile(r"whisper\.(?:(?P<side>encoder|decoder)\.)?attention\.head_count")
_MAX_ENTRIES = 1_000_000  # of metadata, and of an array in them: vocabularies have 50,000
_MAX_TENSORS, _MAX_RANK, _MAX_TEXT = 100_000, 4, 1 << 16


def open_gguf(path: Path) -> OpenAIModel:
    """Opens a Whisper in a GGUF file.

    Raises:
        FormatError: another model, another version of the format, or damage.
    """
    file = MappedFile(path)
    if file.read(4) != MAGIC:
        raise FormatError(f"{path.name} is no GGUF file")
    version, n_tensors, n_metadata = file.unpack("IQQ")
    if version not in _VERSIONS or n_tensors > _MAX_TENSORS or n_metadata > _MAX_ENTRIES:
        raise FormatError(f"{path.name} has version {version}, {n_tensors} tensors, {n_metadata} metadata")
    alignment, heads = _metadata(file, n_metadata)
    tensors = _tensors(file, n_tensors, alignment)
    is_openai = any(".blocks." in name for name in tensors)
    renamed = openai.network_name if is_openai else huggingface.network_name

    def arrays(is_read: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield from ((name, tensor.read(file)) for name, tensor in tensors.items() if is_read(name))

    def read() -> Iterator[tuple[str, NDArray[np.generic]]]:
        if is_openai:
            return openai.network_weights(arrays())
        return huggingface.network_weights(arrays(), has_projection=has_projection)

    has_projection = not is_openai and huggingface.has_projection(arrays(huggingface.is_table), {})
    try:
        sizes = _config({renamed(name): tensor.shape for name, tensor in tensors.items()}, heads)
        config = replace(sizes, has_projection=has_projection)
    except ValueError as error:
        raise FormatError(f"{path.name}: {error}") from error
    return OpenAIModel(config, (path,), read)


def _config(shapes: Mapping[str, tuple[int, ...]], heads: Mapping[str, int]) -> WhisperConfig:
    """Returns the sizes that the shapes of weights imply; those of kernels are (outputs, inputs[, width]).

    Heads of which the metadata has no number are as wide as in each model of OpenAI.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        if len(shapes.get(name, ())) != rank:
            raise ValueError(f"it is no Whisper: its {name} has the shape {shapes.get(name)}")
        return shapes[name]

    d_model, n_mels, _ = shape("encoder.conv1.kernel", 3)

    def n_heads(side: str) -> int:
        found = heads.get(side, heads.get(""))
        if found is None and d_model % _HEAD_WIDTH:
            raise ValueError(f"its width {d_model} does not divide into heads of {_HEAD_WIDTH}")
        return d_model // _HEAD_WIDTH if found is None else found

    numbers = {side: _n_layers(shapes, side) for side in ("encoder", "decoder")}
    return WhisperConfig(
        n_mels=n_mels,
        d_model=d_model,
        d_mlp=shape("encoder.layers.0.mlp.up.kernel", 2)[0],
        encoder_layers=numbers["encoder"],
        encoder_heads=n_heads("encoder"),
        decoder_layers=numbers["decoder"],
        decoder_heads=n_heads("decoder"),
        n_vocab=shape("decoder.embedding.embedding", 2)[0],
    )


def _n_layers(shapes: Mapping[str, tuple[int, ...]], side: str) -> int:
    found = (re.match(rf"{side}\.layers\.(\d{{1,6}})\.", name) for name in shapes)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _metadata(file: MappedFile, n_metadata: int) -> tuple[int, dict[str, int]]:
    """Reads past the metadata, and returns those that are needed: the alignment, and the heads by side.

    The side is empty for heads of both.
    """
    alignment, heads = 32, dict[str, int]()
    for _ in range(n_metadata):
        key, kind = _text(file), file.unpack("I")[0]
        if (match := _HEADS.fullmatch(key)) and kind in _INTEGERS:
            (heads[match["side"] or ""],) = file.unpack(_INTEGERS[kind])
        elif key == "general.alignment" and kind == _UINT32:
            (alignment,) = file.unpack("I")
            if alignment not in (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
                raise FormatError(f"it has an alignment of {alignment} bytes")
        else:
            _skip(file, kind)
    return alignment, heads


def _skip(file: MappedFile, kind: int) -> None:
    if kind in _N_BYTES:
        file.slice(_N_BYTES[kind])
    elif kind == _STRING:
        file.slice(file.unpack("Q")[0])
    elif kind == _ARRAY:
        element, number = file.unpack("IQ")
        if number > _MAX_ENTRIES or element not in (*_N_BYTES, _STRING):
            raise FormatError(f"it has an array of {number} values of the type {element} in its metadata")
        if element in _N_BYTES:
            file.slice(number * _N_BYTES[element])
        else:
            for _ in range(number):
                file.slice(file.unpack("Q")[0])
    else:
        raise FormatError(f"it has metadata of the unknown type {kind}")


def _tensors(file: MappedFile, number: int, alignment: int) -> dict[str, GgmlTensor]:
    entries: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(number):
        name, rank = _text(file), file.unpack("I")[0]
        if rank > _MAX_RANK or name in entries:
            raise FormatError(f"it has a tensor {name!r:.100} of {rank} dimensions, or twice")
        shape = file.unpack(f"{rank}Q")[::-1]
        kind, offset = file.unpack("IQ")
        entries[name] = shape, kind, offset
    start = -(-file.position // alignment) * alignment
    tensors = {
        name: GgmlTensor(shape, kind, start + offset) for name, (shape, kind, offset) in entries.items()
    }
    for tensor in tensors.values():
        file.position = tensor.offset
        file.slice(tensor.n_bytes)
    return tensors


def _text(file: MappedFile) -> str:
    (length,) = file.unpack("Q")
    if length > _MAX_TEXT:
        raise FormatError(f"it claims a name of {length} bytes")
    try:
        return file.read(length).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"a name in it is not UTF-8: {error}") from None
