"""Reader of `flax_model.msgpack`: a tree of maps, whose leaves are arrays in extension type 1 of MessagePack.

An array is an array of three: its shape, the name of its dtype, and its bytes. Sources: the specification of
MessagePack, and `_ndarray_to_bytes` in `flax/serialization.py`. The file is walked in place, so that weights
are not copied; a library would return copies of all of them at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from model.formats.mapped_file import FormatError, MappedFile

_DTYPES = {
    "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64,
}  # fmt: skip
_ARRAY_TYPE = 1  # of the extension types of flax
_MAX_DEPTH, _MAX_RANK, _MAX_LAYERS = 16, 4, 256

# Kind of a value by its first byte, where this is followed by a length of so many bytes.
_LENGTHS = {
    0xDE: ("map", 2), 0xDF: ("map", 4), 0xDC: ("array", 2), 0xDD: ("array", 4),
    0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
    0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4),
    0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
    0xCC: ("int", 1), 0xCD: ("int", 2), 0xCE: ("int", 4), 0xCF: ("int", 8),
}  # fmt: skip
_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}  # first byte of extensions of fixed lengths
_BIG_ENDIAN = {1: ">B", 2: ">H", 4: ">I", 8: ">Q"}


class _Value(NamedTuple):
    """The beginning of a value: its kind, and its length or, of an integer, itself."""

    kind: str
    length: int


def read_tensors(
    files: Sequence[Path], is_read: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields the weights whose names satisfy `is_read`, with names and layouts of transformers' torch.

    Raises:
        FormatError: another content, or damage.
    """
    for path in files:
        file = MappedFile(path)
        for path_in_tree, stored in _arrays(file, ()):
            without_params = path_in_tree[1:] if path_in_tree[0] == "params" else path_in_tree
            for names, weight in _unscanned(without_params, stored):
                name = _torch_name(names)
                if is_read(name):
                    yield name, weight.transpose() if names[-1] == "kernel" else weight
        if file.position != file.size:
            raise FormatError(f"{path.name} goes on behind the weights: it is damaged")


def _unscanned(
    names: tuple[str, ...], weight: NDArray[np.generic]
) -> Iterator[tuple[tuple[str, ...], NDArray[np.generic]]]:
    """Yields the weights of layers that `flax.linen.scan` stacked along the first axis, or the weight itself.

    Trainings with `use_scan` have them below `layers`, where the numbers of layers would be: in a module such
    as `FlaxEncoderScanLayers`, or without one.
    """
    place = names.index("layers") + 1 if "layers" in names else len(names)
    if place >= len(names) or names[place].isdigit():
        yield names, weight
        return
    if weight.ndim < 2 or len(weight) > _MAX_LAYERS:
        raise FormatError(f"it has layers of the shape {weight.shape} in {'/'.join(names)!r:.200}")
    inner = names[place + 1 :] if names[place].endswith("ScanLayers") else names[place:]
    for number, one in enumerate(weight):
        yield (*names[:place], str(number), *inner), one


def _torch_name(names: tuple[str, ...]) -> str:
    leaf = "weight" if names[-1] in ("kernel", "embedding", "scale") else names[-1]
    modules = ("proj_out",) if names[:-1] == ("lm_head",) else names[:-1]
    return ".".join((*modules, leaf))


def _arrays(file: MappedFile, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], NDArray[np.generic]]]:
    """Yields the arrays in the tree at the file's position, with the names that lead to each."""
    value = _next(file)
    if value.kind == "ext" and path:
        yield path, _array(file, value.length)
        return
    if value.kind != "map" or len(path) >= _MAX_DEPTH:
        raise FormatError(
            f"it has a value of kind {value.kind} in {'/'.join(path)!r:.200}, where weights belong"
        )
    for _ in range(value.length):
        yield from _arrays(file, (*path, _text(file)))


def _array(file: MappedFile, n_bytes: int) -> NDArray[np.generic]:
    (code,) = file.unpack("b")
    end = file.position + n_bytes
    fields = _next(file)
    rank = _next(file)
    if code != _ARRAY_TYPE or fields != ("array", 3) or rank.kind != "array" or rank.length > _MAX_RANK:
        raise FormatError(f"it has an extension of type {code} that is no array of flax")
    shape = [_next(file) for _ in range(rank.length)]
    dtype, content = _text(file), _next(file)
    if any(size.kind != "int" for size in shape) or content.kind != "bin" or dtype not in _DTYPES:
        raise FormatError(f"it has an array of the unknown type {dtype!r:.100}")
    sizes, start = tuple(size.length for size in shape), file.position
    array = file.array(start, _DTYPES[dtype], sizes)
    if start + array.nbytes != end or content.length != array.nbytes:
        raise FormatError(f"an array of shape {sizes} in it has {content.length} bytes: it is damaged")
    return array


def _text(file: MappedFile) -> str:
    value = _next(file)
    if value.kind != "str":
        raise FormatError(f"it has a name of kind {value.kind}: it is damaged")
    try:
        return file.read(value.length).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"a name in it is not UTF-8: {error}") from None


def _next(file: MappedFile) -> _Value:
    """Reads the beginning of a value."""
    (first,) = file.read(1)
    if first < 0x80:
        return _Value("int", first)
    if first < 0xC0:
        kind, bits = (("map", 4), ("array", 4), ("str", 5), ("str", 5))[(first - 0x80) >> 4]
        return _Value(kind, first & (2**bits - 1))
    if first in _FIXED:
        return _Value("ext", _FIXED[first])
    if first in _LENGTHS:
        kind, width = _LENGTHS[first]
        return _Value(kind, struct.unpack(_BIG_ENDIAN[width], file.read(width))[0])
    return _Value(f"0x{first:x}", 0)
