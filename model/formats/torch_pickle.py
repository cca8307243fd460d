"""Reads what `torch.save` pickles, as data: tensors in dictionaries, lists and tuples. Nothing is called.

A pickle is a program, whose opcodes may import and call anything. This interpreter has the few opcodes that
torch writes for a dictionary of tensors; the names of functions in it only select a case below, and any other
name is refused. Its work and memory are linear in the bytes of the pickle. What it returns may hold the same
tuple many times over, so that no value may be printed, hashed or compared whose type is not known. Opcodes:
`pickletools` of the standard library; what torch writes: `torch/serialization.py`, `torch/_utils.py`.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from model.formats.mapped_file import FormatError

_DTYPES: dict[str, Any] = {
    "FloatStorage": np.float32, "HalfStorage": np.float16, "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
_MARK = object()
_MAX_OPCODES = 500_000  # of up to 100 bytes of memory each; large-v3 has 60,000
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS_AND_TEXTS = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
})  # fmt: skip
_WITHOUT_EFFECT = frozenset({"PROTO", "FRAME"})


@dataclass(frozen=True)
class Storage:
    """A block of numbers that tensors are views of, by its key in the file."""

    key: str
    dtype: np.dtype[Any]
    n_elements: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements, not bytes. Not yet checked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Global(NamedTuple):
    """The name of a function or class; nothing is imported by it."""

    name: str


def read_pickle(stream: BinaryIO, storages: dict[str, Storage] | None = None) -> object:
    """Returns what a pickle holds: dicts, lists, tuples, numbers, texts, and `Tensor` for each tensor.

    Args:
        stream: bytes in memory, read up to the end of the pickle.
        storages: where the storages that it refers to are added, by their keys.

    Raises:
        FormatError: an opcode, function or class that a dictionary of tensors does not need, or damage.
    """
    machine = _Machine({} if storages is None else storages)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name == "STOP":
                return machine.pop()
            if number >= _MAX_OPCODES:
                raise FormatError(f"its pickle has more than {_MAX_OPCODES} opcodes")
            machine.run(opcode.name, argument)
    # pickletools raises these for bytes that are no pickle; the last where warnings are errors.
    except (ValueError, AssertionError, OverflowError, struct.error, DeprecationWarning) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"its pickle is damaged: {error!r:.200}") from error
    raise FormatError("its pickle has no end")


class _Machine:
    """The stack and memo of a pickle."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._methods: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "EMPTY_LIST": lambda _: self._stack.append([]),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_to_mark())),
            "TUPLE1": lambda _: self._push_tuple(1),
            "TUPLE2": lambda _: self._push_tuple(2),
            "TUPLE3": lambda _: self._push_tuple(3),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "GLOBAL": lambda name: self._stack.append(_Global(name.replace(" ", "."))),
            "STACK_GLOBAL": self._stack_global,
            "BINPERSID": self._persistent,
            "REDUCE": self._reduce,
            "NEWOBJ": self._reduce,
            "BUILD": self._build,
            "APPEND": lambda _: self._extend([self.pop()]),
            "APPENDS": lambda _: self._extend(self._pop_to_mark()),
            "SETITEM": lambda _: self._update([*reversed((self.pop(), self.pop()))]),
            "SETITEMS": lambda _: self._update(self._pop_to_mark()),
        }

    def run(self, name: str, argument: object) -> None:
        """Runs an opcode.

        Raises:
            FormatError: it is not one of those that torch writes for tensors, or not in its place.
        """
        if name in _NUMBERS_AND_TEXTS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in self._methods:
            self._methods[name](argument)
        elif name not in _WITHOUT_EFFECT:
            raise FormatError(
                f"its pickle has the opcode {name}, which a dictionary of tensors does not need"
            )

    def pop(self) -> Any:  # noqa: ANN401  # of any type that a pickle makes
        """Takes the uppermost value.

        Raises:
            FormatError: there is none.
        """
        if not self._stack or self._stack[-1] is _MARK:
            raise FormatError("its pickle is damaged: a value is missing")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while self._stack and self._stack[-1] is not _MARK:
            values.append(self._stack.pop())
        if not self._stack:
            raise FormatError("its pickle is damaged: a mark is missing")
        self._stack.pop()
        return values[::-1]

    def _push_tuple(self, length: int) -> None:
        self._stack.append(tuple([self.pop() for _ in range(length)][::-1]))

    def _top(self, kind: type) -> Any:  # noqa: ANN401  # of the given type
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise FormatError(f"its pickle is damaged: a {kind.__name__} is missing")
        return self._stack[-1]

    def _put(self, index: int) -> None:
        if not self._stack or self._stack[-1] is _MARK:
            raise FormatError("its pickle is damaged: a value is missing")
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise FormatError(f"its pickle is damaged: it has no value {index}")
        self._stack.append(self._memo[index])

    def _persistent(self, _: object) -> None:
        storage = _storage(self.pop())
        if self._storages.setdefault(storage.key, storage) != storage:
            raise FormatError(f"its pickle describes the storage {storage.key!r:.100} in two ways")
        self._stack.append(storage)

    def _stack_global(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        self._stack.append(_Global(f"{_text(module)}.{_text(name)}"))

    def _extend(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def _update(self, values: list[Any]) -> None:
        mapping = self._top(dict)
        if len(values) % 2:
            raise FormatError("its pickle is damaged: a key has no value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Other keys, such as nested tuples, may take a time to hash that is exponential in their depth.
            if type(key) not in (str, int):
                raise FormatError(
                    f"its pickle has a key of type {type(key).__name__}, where a text was expected"
                )
            mapping[key] = value

    def _reduce(self, _: object) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise FormatError("its pickle is damaged: it calls what is no function")
        self._stack.append(_result(function.name, arguments))

    def _build(self, _: object) -> None:
        self.pop()  # attributes, such as `_metadata` of a dictionary of weights, which no weight depends on
        self._top(dict)


def _result(function: str, arguments: tuple[Any, ...]) -> object:
    """Returns what torch's functions for dictionaries of tensors would return."""
    if function == "collections.OrderedDict" and not arguments:
        return {}
    if function == "torch._utils._rebuild_tensor_v2" and len(arguments) in (6, 7):
        return _tensor(*arguments[:4])
    if function == "torch._utils._rebuild_parameter" and len(arguments) == 3:
        if isinstance(arguments[0], Tensor):
            return arguments[0]
        raise FormatError("its pickle is damaged: a parameter is no tensor")
    raise FormatError(
        f"its pickle calls {function!r:.200}, and nothing is called here: it holds more than weights. "
        "Save the weights alone, in safetensors: `model.save_pretrained(FOLDER)`"
    )


def _tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    whole = isinstance(offset, int) and isinstance(shape, tuple) and isinstance(strides, tuple)
    if not isinstance(storage, Storage) or not whole:
        raise FormatError("its pickle is damaged: a tensor has no storage, shape or strides")
    return Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]  # see `whole`


def _storage(identifier: object) -> Storage:
    """Returns the storage of a persistent id: ("storage", class, key, device, number of elements, ...)."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise FormatError("its pickle refers to what is no storage of a tensor")
    kind, key, n_elements = identifier[1], identifier[2], identifier[4]
    name = kind.name.removeprefix("torch.") if isinstance(kind, _Global) else ""
    if name not in _DTYPES:
        raise FormatError(f"its pickle has a tensor of the unknown type {name!r:.100}")
    if type(n_elements) is not int or n_elements < 0:
        raise FormatError("its pickle is damaged: a storage has no size")
    return Storage(_text(key), np.dtype(_DTYPES[name]), n_elements)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError(f"its pickle is damaged: a {type(value).__name__}, where a text was expected")
    return value
