import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from model.formats.huggingface import read_weights
from model.formats.mapped_file import FormatError
from model.formats.openai import open_pt
from model.formats.pytorch import open_torch, read_tensors, tensors
from tests.support import torch_files

REFERENCES = Path(__file__).parent / "references"


def read(path: Path) -> dict[str, NDArray[np.generic]]:
    file = open_torch(path)
    return dict(tensors(file, file.content))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "legacy.bin"])
def test_weights_that_transformers_saved(name: str) -> None:
    expected = dict(read_weights([REFERENCES / "model.safetensors"]))
    found = dict(read_weights([REFERENCES / name], read_tensors))
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        np.testing.assert_array_equal(found[key], weight, err_msg=key)


@pytest.mark.parametrize("name", ["views.pt", "views_legacy.pt"])
def test_every_dtype_and_view(name: str) -> None:
    expected, found = load_file(REFERENCES / "views.safetensors"), read(REFERENCES / name)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training.pt", r"calls 'argparse\.Namespace', .* it holds more than weights"),
        ("module.pt", r"calls 'torch\.nn\.modules\.linear\.Linear'"),
        ("scripted.pt", "TorchScript, a compiled program, which is never run"),
    ],
)
def test_more_than_tensors_is_refused(name: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        open_torch(REFERENCES / name)


def view(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], n_elements: int = 6) -> bytes:
    owner = torch_files.storage("FloatStorage", "0", n_elements)
    return torch_files.program(
        torch_files.dictionary({"a": torch_files.tensor(owner, offset, shape, strides)})
    )


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (7,), (1,)), (1, (6,), (1,)), (-1, (2,), (1,)), (0, (2, 3), (4, 1)), (0, (2,), (-1,)),
        (0, (100_000, 100_000), (0, 0)), (0, (7,), (0,)), (6, (), ()), (0, (2,), ()), (0, (1,) * 9, (1,) * 9),
    ],
)  # fmt: skip
def test_a_view_outside_of_its_storage_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    content = torch_files.torch_zip(view(offset, shape, strides), {"0": bytes(24)})
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="the tensor 'a'"):
            read(torch_files.save(tmp_path / "a.bin", content))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_storage_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    content = torch_files.torch_zip(view(0, (2**30,), (1,), 2**30), {"0": bytes(24)})
    with pytest.raises(FormatError, match="within the 6 numbers"):
        read(torch_files.save(tmp_path / "a.bin", content))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compressed_files_are_refused(tmp_path: Path, compression: int) -> None:
    content = torch_files.torch_zip(view(0, (6,), (1,)), {"0": bytes(24)}, compression)
    with pytest.raises(FormatError, match="compressed"):
        read(torch_files.save(tmp_path / "a.bin", content))


def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path: Path) -> None:
    for content, message in (
        (pickle.EMPTY_LIST, "it holds a list"),
        (torch_files.dictionary({"a": torch_files.number(3)}), "it holds a int called 'a'"),
    ):
        path = torch_files.save(tmp_path / "a.bin", torch_files.torch_zip(torch_files.program(content), {}))
        with pytest.raises(FormatError, match=message):
            read(path)


NESTED = pickle.EMPTY_TUPLE + b"q\x01h\x01\x86" * 200  # takes exponential time to print


def test_nested_tuples_are_not_printed(tmp_path: Path) -> None:
    owner = torch_files.storage("FloatStorage", "0", 6)
    view = torch_files.tensor(owner, 0, (6,), (1,))
    nested = torch_files.program(
        torch_files.dictionary({"a": view.replace(torch_files.numbers((6,)), NESTED)})
    )
    path = torch_files.save(tmp_path / "a.bin", torch_files.torch_zip(nested, {"0": bytes(24)}))
    with pytest.raises(FormatError, match="the tensor 'a' has a shape or strides that are no whole numbers"):
        read(path)
    sizes = torch_files.dictionary({"dims": torch_files.dictionary({"n_mels": NESTED})})
    path = torch_files.save(tmp_path / "a.pt", torch_files.torch_zip(torch_files.program(sizes), {}))
    with pytest.raises(FormatError, match=r"sizes \(dims\) that are no whole numbers"):
        open_pt(path)
    whole = (REFERENCES / "views_legacy.pt").read_bytes()
    version = pickle.dumps(1001, 2)
    path = torch_files.save(tmp_path / "b.pt", whole.replace(version, torch_files.program(NESTED), 1))
    with pytest.raises(FormatError, match="not of the version"):
        open_torch(path)


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    content = torch_files.torch_zip(view(0, (6,), (1,)), {"0": bytes(24)}).replace(b"little", b"bigbig")
    with pytest.raises(FormatError, match=r"byte order b'bigbig'|not an intact zip"):
        read(torch_files.save(tmp_path / "a.bin", content))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content, message in (
        (b"\x80\x02}.", "neither a zip file nor a pickle that torch.save wrote"),
        (torch_files.torch_zip(b"", {}).replace(b"data.pkl", b"data.xyz"), "not one that torch.save wrote"),
    ):
        with pytest.raises(FormatError, match=message):
            read(torch_files.save(tmp_path / "a.bin", content))


@pytest.mark.parametrize("cut", [30, 300, 3000, 60_000])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "legacy.bin"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, cut: int) -> None:
    path = torch_files.save(tmp_path / "a.bin", (REFERENCES / name).read_bytes()[:cut])
    with pytest.raises(FormatError):
        dict(read_weights([path], read_tensors))


def test_a_legacy_storage_of_another_size_is_refused(tmp_path: Path) -> None:
    content = bytearray((REFERENCES / "views_legacy.pt").read_bytes())
    place = content.index(struct.pack("<q", 60))
    content[place : place + 8] = struct.pack("<q", 2**40)
    with pytest.raises(FormatError, match="its storages are not those"):
        open_torch(torch_files.save(tmp_path / "a.pt", bytes(content)))
