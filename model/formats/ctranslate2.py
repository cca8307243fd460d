"""Reader of CTranslate2's `model.bin`, memory-mapped, in one file or in parts.

The format (little endian): u32 version (6); string spec; u32 revision; u32 count; then per variable
string name, u8 rank, u32 dims[rank], u8 dtype, u32 byte count, data; then u32 alias count, and pairs of
strings (alias, name). A string is a u16 length that includes its final NUL, then the bytes. Source:
`python/ctranslate2/specs/model_spec.py` (`_serialize`) of OpenNMT/CTranslate2.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from model.config import DecodingConfig, WhisperConfig
from model.formats import huggingface
from model.formats.mapped_file import FormatError

_VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: ml_dtypes.bfloat16}
_MAX_VARIABLES = 100_000  # large-v3 has fewer than 2,000
_MAX_RANK = 4

_EMBEDDING, _PROJECTION = "decoder/embeddings/weight", "decoder/projection/weight"

_ATTENTIONS = {
    "encoder": {"self_attention": "attention"},
    "decoder": {"self_attention": "self_attention", "attention": "cross_attention"},
}

_COPIED = {  # names in CTranslate2's `config.json`, and in transformers' configs
    "suppress_ids": "suppress_tokens",
    "suppress_ids_begin": "begin_suppress_tokens",
    "alignment_heads": "alignment_heads",
}


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    n_bytes: int


class _Parts(io.RawIOBase):
    """Several files read as one, concatenated; nothing is copied to disk."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if empty := [path.name for path in paths if not path.stat().st_size]:
            raise FormatError(f"{empty[0]} is empty")
        self._maps = [np.memmap(path, np.uint8, mode="r") for path in paths]
        self._ends = np.cumsum([len(part) for part in self._maps]).tolist()
        self._position = 0

    @property
    def size(self) -> int:
        return int(self._ends[-1])

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset if whence == io.SEEK_SET else self._position + offset
        return self._position

    def read(self, n_bytes: int = -1) -> bytes:
        stop = self._position + n_bytes
        if n_bytes < 0 or stop > self.size:
            raise FormatError(
                f"the file ends at byte {self.size}, in the middle of {n_bytes} bytes "
                f"that start at {self._position}: it is cut short or damaged"
            )
        chunks, start = [], 0
        for part, end in zip(self._maps, self._ends, strict=True):
            low, high = max(self._position, start), min(stop, end)
            if low < high:
                chunks.append(part[low - start : high - start].tobytes())
            start = end
        self._position = stop
        return b"".join(chunks)


class CTranslate2File:
    """The variables of a `model.bin`, read lazily.

    Raises:
        FormatError: another format, version or spec, or sizes that do not match the file.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self._file = _Parts(parts)
        self._read = set[int]()  # offsets of variables
        version = self._u32()
        if version != _VERSION:
            raise FormatError(
                f"version {version} of CTranslate2's format is not supported, only version {_VERSION}"
            )
        spec = self._string()
        if spec != "WhisperSpec":
            raise FormatError(f"the model has spec {spec!r}, expected 'WhisperSpec'")
        self._u32()  # revision of the spec: it changes defaults, not names
        self._entries = dict(self._read_entry() for _ in range(self._count("variables")))
        for _ in range(self._count("aliases")):
            alias, name = self._string(), self._string()
            self._entries[alias] = self._entry(name)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """Returns the shape of a variable.

        Raises:
            FormatError: no variable of that name, or not `rank` dimensions, or empty.
        """
        shape = self._entry(name).shape
        if rank is not None and (len(shape) != rank or 0 in shape):
            raise FormatError(
                f"variable {name!r} has the shape {shape}, where {rank} dimensions were expected"
            )
        return shape

    def read(self, name: str) -> NDArray[np.generic]:
        """Returns a variable; quantised weights are dequantised to float32.

        Raises:
            FormatError: no variable of that name, or its scale does not match its shape.
        """
        values, scale_name = self._stored(name), f"{name}_scale"
        if scale_name not in self._entries:
            return values
        scale = self._stored(scale_name).astype(np.float32)
        if scale.shape not in ((), (1,), values.shape[:1]) or not (scale > 0).all():
            raise FormatError(f"variable {scale_name!r} of shape {scale.shape} does not match {values.shape}")
        scale = scale.reshape(scale.shape + (1,) * (values.ndim - scale.ndim))  # one per row, or one for all
        return values.astype(np.float32) / scale

    def is_same(self, name: str, other: str) -> bool:
        """Whether two variables have the same values, as an alias has.

        Raises:
            FormatError: no variable of one of the names.
        """
        is_alias = self._entry(name) == self._entry(other)
        return is_alias or np.array_equal(self.read(name), self.read(other))

    def skip(self, name: str) -> None:
        """Counts a variable as read."""
        self._read |= {self._entries[one].offset for one in (name, f"{name}_scale") if one in self._entries}

    def check_all_read(self) -> None:
        """Raises `FormatError` if a variable was not read; single numbers are settings."""
        entries = self._entries.items()
        surplus = sorted(name for name, entry in entries if entry.shape and entry.offset not in self._read)
        if surplus:
            raise FormatError(
                f"it has the variables {', '.join(surplus[:5])}, which belong to no part of a Whisper"
            )

    def matrix(self, name: str) -> NDArray[np.generic]:
        """Returns a variable of two dimensions, like `read`.

        Raises:
            FormatError: it has another number of dimensions, or is empty.
        """
        self.shape(name, 2)
        return self.read(name)

    def _stored(self, name: str) -> NDArray[np.generic]:
        entry = self._entry(name)
        self._read.add(entry.offset)
        self._file.seek(entry.offset)
        return np.frombuffer(self._file.read(entry.n_bytes), entry.dtype).reshape(entry.shape)

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise FormatError(f"it has no variable {name!r}") from None

    def _u32(self) -> int:
        return int(struct.unpack("<I", self._file.read(4))[0])

    def _count(self, kind: str) -> int:
        count = self._u32()
        if count > _MAX_VARIABLES:
            raise FormatError(f"it claims {count} {kind}")
        return count

    def _string(self) -> str:
        (length,) = struct.unpack("<H", self._file.read(2))
        try:
            return self._file.read(length)[:-1].decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"a name in it is not UTF-8: {error}") from None

    def _read_entry(self) -> tuple[str, _Entry]:
        name = self._string()
        rank = self._file.read(1)[0]
        if rank > _MAX_RANK:
            raise FormatError(f"variable {name!r} claims {rank} dimensions")
        shape = struct.unpack(f"<{rank}I", self._file.read(4 * rank))
        code, n_bytes = struct.unpack("<BI", self._file.read(5))
        if code not in _DTYPES:
            raise FormatError(f"variable {name!r} has the unknown type {code}")
        dtype = np.dtype(_DTYPES[code])
        offset = self._file.seek(0, io.SEEK_CUR)
        if math.prod(shape) * dtype.itemsize != n_bytes or offset + n_bytes > self._file.size:
            raise FormatError(
                f"variable {name!r} of shape {shape} claims {n_bytes} bytes at {offset} "
                f"of {self._file.size}: the file is cut short or damaged"
            )
        self._file.seek(offset + n_bytes)
        return name, _Entry(shape, dtype, offset, n_bytes)


def read_config(file: CTranslate2File) -> WhisperConfig:
    """Returns the sizes of the network, from the shapes of its variables.

    Raises:
        FormatError: a variable is missing, or has other dimensions.
        ValueError: sizes that are not valid for Whisper.
    """
    d_model, n_mels, _ = file.shape("encoder/conv1/weight", 3)
    n_vocab, _ = file.shape(_EMBEDDING, 2)
    return WhisperConfig(
        n_mels=n_mels,
        d_model=d_model,
        d_mlp=file.shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
        encoder_layers=_count_layers(file, "encoder"),
        encoder_heads=_number(file, "encoder/num_heads"),
        decoder_layers=_count_layers(file, "decoder"),
        decoder_heads=_number(file, "decoder/num_heads"),
        n_vocab=n_vocab,
        has_projection=not file.is_same(_PROJECTION, _EMBEDDING),
    )


def read_decoding(values: Mapping[str, Any], generation: Mapping[str, Any]) -> DecodingConfig:
    """Returns what two configs tell about decoding; `generation_config.json` overrides `config.json`.

    The converter copies suppressed tokens, alignment heads and ids of languages, and leaves the rest out.
    Lists that are null are empty. It lists languages of English-only models, too.

    Args:
        values: content of CTranslate2's `config.json`.
        generation: content of transformers' `generation_config.json`; empty if there is none.

    Raises:
        ValueError, TypeError, AttributeError: values of other types.
    """
    copied = {theirs: values.get(ours) for ours, theirs in _COPIED.items()}
    decoding = huggingface.read_decoding(copied, generation)
    if decoding.languages:
        return decoding
    return replace(decoding, languages=tuple(("", token) for token in values.get("lang_ids") or ()))


def _number(file: CTranslate2File, name: str) -> int:
    if math.prod(file.shape(name)) != 1:
        raise FormatError(f"variable {name!r} has the shape {file.shape(name)}, where a number was expected")
    value = file.read(name).item()
    if not isinstance(value, int):
        raise FormatError(f"variable {name!r} is {value!r}, where a whole number was expected")
    return value


def read_weights(file: CTranslate2File, config: WhisperConfig) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields each weight under its name in `model.network`, kernels as (inputs, outputs).

    Raises:
        FormatError: a variable is missing, has other dimensions, or belongs to nothing in the network.
    """
    yield from _front_weights(file)
    if config.has_projection:
        yield "decoder.projection.embedding", file.read(_PROJECTION)
    else:
        file.skip(_PROJECTION)
    for side, n_layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        yield from _norm(file, f"{side}/layer_norm", f"{side}.norm")
        for layer in range(n_layers):
            yield from _layer_weights(file, f"{side}/layer_{layer}", f"{side}.layers.{layer}", side)
    file.check_all_read()


def _count_layers(file: CTranslate2File, side: str) -> int:
    names = (re.match(rf"{side}/layer_(\d+)/", name) for name in file)
    return 1 + max((int(match[1]) for match in names if match), default=-1)


def _front_weights(file: CTranslate2File) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for conv in ("conv1", "conv2"):
        file.shape(f"encoder/{conv}/weight", 3)
        weight = file.read(f"encoder/{conv}/weight")
        yield f"encoder.{conv}.kernel", weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])
        yield f"encoder.{conv}.bias", file.read(f"encoder/{conv}/bias")
    yield "encoder.positions", file.read("encoder/position_encodings/encodings")
    yield "decoder.positions", file.read("decoder/position_encodings/encodings")
    yield "decoder.embedding.embedding", file.read(_EMBEDDING)


def _layer_weights(
    file: CTranslate2File, source: str, target: str, side: str
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for theirs, ours in _ATTENTIONS[side].items():
        yield from _norm(file, f"{source}/{theirs}/layer_norm", f"{target}.{ours}_norm")
        yield from _attention(file, f"{source}/{theirs}", f"{target}.{ours}")
    yield from _norm(file, f"{source}/ffn/layer_norm", f"{target}.mlp_norm")
    for theirs, ours in (("linear_0", "up"), ("linear_1", "down")):
        yield f"{target}.mlp.{ours}.kernel", file.read(f"{source}/ffn/{theirs}/weight").T
        yield f"{target}.mlp.{ours}.bias", file.read(f"{source}/ffn/{theirs}/bias")


def _norm(file: CTranslate2File, source: str, target: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
    yield f"{target}.scale", file.read(f"{source}/gamma")
    yield f"{target}.bias", file.read(f"{source}/beta")


def _attention(file: CTranslate2File, source: str, target: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
    weights = _projections(file, source)
    for name in ("query", "key", "value", "out"):
        kernel, bias = weights[name]
        yield f"{target}.{name}.kernel", kernel.T
        if name != "key":  # Whisper's keys have no bias: the fused projection stores zeros
            yield f"{target}.{name}.bias", bias


def _projections(
    file: CTranslate2File, source: str
) -> Mapping[str, tuple[NDArray[np.generic], NDArray[np.generic]]]:
    """Returns kernels (outputs, inputs) and biases by name; q, k and v are stacked if they share an input."""
    linears = [
        (file.matrix(f"{source}/linear_{i}/weight"), file.read(f"{source}/linear_{i}/bias"))
        for i in range(3)
        if f"{source}/linear_{i}/weight" in file
    ]
    stacked = [(kernel, bias, kernel.shape[0] // kernel.shape[1]) for kernel, bias in linears[:-1]]
    shapes = [(kernel.shape, bias.shape) for kernel, bias in linears]
    fits = all(
        kernel.shape[0] == n * kernel.shape[1] and bias.shape == (kernel.shape[0],)
        for kernel, bias, n in stacked
    )
    if not fits or sum(n for *_, n in stacked) != 3:
        raise FormatError(f"{source} has projections of shapes {shapes}, expected query, key and value")
    fused = [
        part
        for kernel, bias, n in stacked
        for part in zip(np.split(kernel, n), np.split(bias, n), strict=True)
    ]
    return dict(zip(("query", "key", "value", "out"), [*fused, linears[-1]], strict=True))
