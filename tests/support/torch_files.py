"""Files as `torch.save` writes them, made without torch, opcode by opcode."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    return pickle.MARK + b"".join(map(number, values)) + pickle.TUPLE


def function(name: str) -> bytes:
    module, _, own = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{own}\n".encode()


def storage(kind: str, key: str, n_elements: int) -> bytes:
    parts = [text("storage"), function(f"torch.{kind}"), text(key), text("cpu"), number(n_elements)]
    return pickle.MARK + b"".join(parts) + pickle.TUPLE + pickle.BINPERSID


def tensor(owner: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A call of `_rebuild_tensor_v2`."""
    hooks = function("collections.OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = [owner, number(offset), numbers(shape), numbers(strides), pickle.NEWFALSE, hooks]
    call = pickle.MARK + b"".join(arguments) + pickle.TUPLE
    return function("torch._utils._rebuild_tensor_v2") + call + pickle.REDUCE


def dictionary(items: Mapping[str, bytes]) -> bytes:
    content = b"".join(text(name) + value for name, value in items.items())
    return pickle.EMPTY_DICT + pickle.MARK + content + pickle.SETITEMS


def program(value: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + value + pickle.STOP


def tensors_of(weights: Mapping[str, NDArray[np.generic]]) -> bytes:
    """A dictionary of tensors, each with a storage of its own, numbered from 0."""
    found = {}
    for key, (name, weight) in enumerate(weights.items()):
        strides = tuple(stride // weight.itemsize for stride in np.ascontiguousarray(weight).strides)
        owner = storage(STORAGES[weight.dtype.name], str(key), weight.size)
        found[name] = tensor(owner, 0, weight.shape, strides)
    return dictionary(found)


def torch_zip(content: bytes, storages: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The bytes of a zip file of torch with this pickle and these storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def weights_zip(weights: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The bytes of `pytorch_model.bin` with these weights."""
    return torch_zip(program(tensors_of(weights)), _storages(weights))


def openai_pt(weights: Mapping[str, NDArray[np.generic]], dims: Mapping[str, int]) -> bytes:
    """The bytes of a `.pt` of openai/whisper."""
    sizes = dictionary({name: number(size) for name, size in dims.items()})
    content = dictionary({"dims": sizes, "model_state_dict": tensors_of(weights)})
    return torch_zip(program(content), _storages(weights))


def _storages(weights: Mapping[str, NDArray[np.generic]]) -> dict[str, bytes]:
    return {str(key): weight.tobytes() for key, weight in enumerate(weights.values())}


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
