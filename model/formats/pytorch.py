"""Reader of torch's files of tensors: zip files (torch 1.6 and later), and the single pickles before.

A zip file has `NAME/data.pkl`, and the bytes of each storage as `NAME/data/KEY`. The older format is one
pickle after the other: magic number, version, sizes of types, the content, the keys of the storages; then the
storages in that order, each as an int64 number of elements and its bytes. Source: `torch/serialization.py`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.formats.mapped_file import FormatError, MappedFile
from model.formats.stored_zip import StoredZip
from model.formats.torch_pickle import Storage, Tensor, read_pickle

ZIP_MAGIC = b"PK\x03\x04"
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of this number
_MAX_PICKLE = 1 << 22  # bytes; the pickle of large-v3 has a fifth of a megabyte
_MAX_RANK = 8


class TorchFile(NamedTuple):
    """A file that `torch.save` wrote: its content, and the bytes of its storages."""

    content: object
    bytes_of: Callable[[Storage], NDArray[np.uint8]]


def open_torch(path: Path) -> TorchFile:
    """Opens a file of tensors; their numbers are read by `tensors`.

    Raises:
        FormatError: another format, damage, or more than tensors.
    """
    with path.open("rb") as stream:
        start = stream.read(len(LEGACY_MAGIC))
    if start.startswith(ZIP_MAGIC):
        return _open_zip(path)
    if start == LEGACY_MAGIC:
        return _open_legacy(path)
    raise FormatError(f"{path.name} is neither a zip file nor a pickle that torch.save wrote")


def tensors(file: TorchFile, weights: object) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields the name and the numbers of each tensor of a dictionary; they are not copied.

    Raises:
        FormatError: it is no dictionary of tensors, or a tensor does not lie within its storage.
    """
    for name, tensor in state_dict(weights).items():
        yield name, _array(name, tensor, file.bytes_of(tensor.storage))


def read_tensors(
    files: Sequence[Path], is_read: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields the tensors of `pytorch_model.bin` files whose names satisfy `is_read`.

    Raises:
        FormatError: see `open_torch` and `tensors`.
    """
    for path in files:
        file = open_torch(path)
        yield from ((name, tensor) for name, tensor in tensors(file, file.content) if is_read(name))


def state_dict(weights: object) -> Mapping[str, Tensor]:
    """Returns a dictionary of tensors.

    Raises:
        FormatError: it is none.
    """
    if not isinstance(weights, dict):
        raise FormatError(f"it holds a {type(weights).__name__}, where a dictionary of tensors was expected")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise FormatError(
                f"it holds a {type(tensor).__name__} called {name!r:.100}, where a tensor was expected: "
                "it is no dictionary of weights"
            )
    return weights


def _open_zip(path: Path) -> TorchFile:
    archive = StoredZip(path)
    pickles = [name for name in archive if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FormatError(f"{path.name} is a zip file, but not one that torch.save wrote")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive:
        raise FormatError(
            f"{path.name} is TorchScript, a compiled program, which is never run: use the weights that it "
            "was made from"
        )
    order = archive.read(f"{folder}byteorder", 16) if f"{folder}byteorder" in archive else b"little"
    if order != b"little":
        raise FormatError(f"{path.name} has the byte order {order!r}, and only little endian is read")
    content = read_pickle(io.BytesIO(archive.read(pickles[0], _MAX_PICKLE)))
    return TorchFile(content, lambda storage: archive.slice(f"{folder}data/{storage.key}"))


def _open_legacy(path: Path) -> TorchFile:
    file = MappedFile(path)
    stream = io.BytesIO(file.read(min(file.size, _MAX_PICKLE)))
    storages: dict[str, Storage] = {}
    magic, version, system = (read_pickle(stream) for _ in range(3))
    content, keys = read_pickle(stream, storages), read_pickle(stream)
    if magic != _MAGIC_NUMBER or version != 1001 or not isinstance(system, dict):
        raise FormatError(f"{path.name} is not of the version of torch's older format that is read, 1001")
    if system.get("little_endian") is not True:
        raise FormatError(f"{path.name} is not little endian")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise FormatError("its list of storages is damaged")
    places = _legacy_places(file, stream.tell(), [storages.get(key) for key in keys])

    def bytes_of(storage: Storage) -> NDArray[np.uint8]:
        if storage.key not in places:
            raise FormatError(f"it has no storage {storage.key!r:.100}")
        file.position = places[storage.key]
        return file.slice(storage.n_elements * storage.dtype.itemsize)

    return TorchFile(content, bytes_of)


def _legacy_places(file: MappedFile, start: int, storages: Sequence[Storage | None]) -> dict[str, int]:
    """Returns the first byte of each storage; they lie one after the other, each behind its length."""
    places = {}
    file.position = start
    for storage in storages:
        (n_elements,) = file.unpack("q")
        if storage is None or n_elements != storage.n_elements:
            raise FormatError("its storages are not those that its tensors refer to: it is damaged")
        places[storage.key] = file.position
        file.slice(n_elements * storage.dtype.itemsize)
    return places


def _array(name: str, tensor: Tensor, content: NDArray[np.uint8]) -> NDArray[np.generic]:
    """Returns a tensor as a view of its storage's bytes."""
    itemsize, shape, strides = tensor.storage.dtype.itemsize, tensor.shape, tensor.strides
    numbers: tuple[Any, ...] = (tensor.offset, *shape, *strides)
    if (
        len(shape) != len(strides)
        or len(shape) > _MAX_RANK
        or any(type(n) is not int or n < 0 for n in numbers)
    ):
        raise FormatError(f"the tensor {name!r:.100} has a shape or strides that are no whole numbers")
    n_elements = len(content) // itemsize
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # A stride of 0 repeats numbers, and so could ask for more memory than the file has.
    if math.prod(shape) > n_elements or (0 not in shape and last >= n_elements):
        raise FormatError(
            f"the tensor {name!r:.100} of shape {shape!r:.100} does not lie within the {n_elements} numbers "
            "of its storage"
        )
    if 0 in shape:
        return np.zeros(shape, tensor.storage.dtype)
    return np.ndarray(
        shape,
        tensor.storage.dtype,
        content,
        tensor.offset * itemsize,
        tuple(stride * itemsize for stride in strides),
    )
