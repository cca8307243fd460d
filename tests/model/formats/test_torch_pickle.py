import io
import pickle
import pickletools
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.formats.mapped_file import FormatError
from model.formats.torch_pickle import Storage, Tensor, read_pickle
from tests.support import torch_files

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner), st.tuples()
    ),
    max_leaves=20,
)


def read(content: bytes) -> object:
    return read_pickle(io.BytesIO(content))


@given(VALUES, st.sampled_from([2, 3, 4, 5]))
def test_plain_values_are_read_as_pickle_reads_them(value: object, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    unknown = {"LONG4", "BINUNICODE8"} & {opcode.name for opcode, _, _ in pickletools.genops(content)}
    if not unknown:
        assert read(content) == value


def test_a_tensor_is_described_and_not_made() -> None:
    owner = torch_files.storage("BFloat16Storage", "7", 12)
    content = torch_files.program(torch_files.tensor(owner, 2, (2, 3), (3, 1)))
    storage = Storage("7", np.dtype("bfloat16"), 12)
    assert read(content) == Tensor(storage, 2, (2, 3), (3, 1))


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._marker), "w"))


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(OrderedDict(a=_Payload(tmp_path / "marker")), protocol)
    with pytest.raises(FormatError):
        read(content)
    assert not (tmp_path / "marker").exists()
    pickle.loads(content)["a"].close()  # the payload works
    assert (tmp_path / "marker").exists()


def test_what_else_it_holds_is_named() -> None:
    with pytest.raises(FormatError, match=r"calls 'io.open', and nothing is called here.*save_pretrained"):
        read(pickle.dumps(_Payload(Path("x")), 2))
    with pytest.raises(FormatError, match="has the opcode INST"):
        read(b"(iposix\nsystem\n.")


@pytest.mark.parametrize(
    "name",
    ["torch.storage._load_from_bytes", "torch._utils._rebuild_tensor", "os.system", "builtins.getattr"],
)
def test_other_functions_are_refused(name: str) -> None:
    arguments = pickle.MARK + torch_files.text("x") + pickle.TUPLE
    with pytest.raises(FormatError, match=f"calls '{name}'"):
        read(torch_files.program(torch_files.function(name) + arguments + pickle.REDUCE))


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"\x80\x02", b"\x80\x02h\x05.", b"\x80\x02(.", b"\x80\x02u.", b"\x80\x02}K\x01s.",
        b"\x80\x02}(K\x01u.", b"\x80\x02]K\x01K\x02s.", b"\x80\x02NR.", b"\x80\x02K\x01b.",
        b"\x80\x02K\x01Q.", b"\x80\x02)Q.", b"\x80\x02\x86.", b"\x80\x02q\x01.", b"\x80\x02K\x01a.",
        b"\x8a\xff\x01.", b"X\xff\xff\xff\x7fa.", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", b"cos\nsystem",
        b"\x80\x02K\x01K\x02\x93.", b"\xff" * 9, b"I1\n.", b"S'\\q'\n.",
        b"\x80\x02}N}s.", b"\x80\x02}K\x01\x85K\x01s.",
    ],
)  # fmt: skip
def test_damaged_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        read(content)


def test_nested_tuples_take_linear_time() -> None:
    """Each level holds the one before twice: printing, hashing or comparing it would never end."""
    level = b"q\x01h\x01\x86" * 2000
    started = process_time()
    read(b"\x80\x02)" + level + b".")
    with pytest.raises(FormatError, match="key of type tuple"):
        read(b"\x80\x02})" + level + b"K\x01s.")
    with pytest.raises(FormatError):
        read(b"\x80\x02)" + level + b"Q.")
    assert process_time() - started < 5


def test_the_number_of_opcodes_is_bounded() -> None:
    with pytest.raises(FormatError, match="more than 500000 opcodes"):
        read(b"\x80\x02" + b"]" * 10**6)


def test_a_storage_has_one_description() -> None:
    pair = [torch_files.tensor(torch_files.storage(kind, "0", 2), 0, (2,), (1,)) for kind in
            ("FloatStorage", "LongStorage")]  # fmt: skip
    with pytest.raises(FormatError, match="storage '0' in two ways"):
        read(torch_files.program(torch_files.dictionary({"a": pair[0], "b": pair[1]})))


def identifier(kind: str, n_elements: int) -> bytes:
    parts = [
        torch_files.text("storage"),
        torch_files.function(kind),
        torch_files.text("0"),
        torch_files.text("cpu"),
    ]
    return pickle.MARK + b"".join(parts) + torch_files.number(n_elements) + pickle.TUPLE


@pytest.mark.parametrize(
    "identifier",
    [
        torch_files.text("storage"),
        pickle.EMPTY_TUPLE,
        torch_files.numbers((1, 2, 3, 4, 5)),
        identifier("torch.Nonesuch", 1),
        identifier("torch.FloatStorage", -1),
    ],
)
def test_other_persistent_ids_are_refused(identifier: bytes) -> None:
    with pytest.raises(FormatError):
        read(torch_files.program(identifier + pickle.BINPERSID))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(FormatError):
        read(b"\x80\x02" + content)
