from pathlib import Path

import numpy as np
import pytest

from model.formats.mapped_file import FormatError, MappedFile


def file_of(folder: Path, content: bytes) -> MappedFile:
    (folder / "file").write_bytes(content)
    return MappedFile(folder / "file")


def test_reads_move_the_position(tmp_path: Path) -> None:
    file = file_of(tmp_path, b"\x01\0\0\0\x02\0abc")
    assert file.unpack("IH") == (1, 2)
    assert file.read(2) == b"ab"
    assert (file.position, file.size) == (8, 9)
    assert bytes(file.slice(1)) == b"c"


def test_arrays_need_no_alignment(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    file = file_of(tmp_path, b"x" + values.tobytes())
    np.testing.assert_array_equal(file.array(1, np.float32, (2, 3)), values)
    assert file.array(1, np.float32, (0, 3)).shape == (0, 3)


@pytest.mark.parametrize(("offset", "shape"), [(0, (3,)), (8, (1,)), (-4, (1,)), (0, (2**40, 2**40))])
def test_arrays_outside_of_the_file_are_refused(tmp_path: Path, offset: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError):
        file_of(tmp_path, bytes(9)).array(offset, np.float32, shape)


@pytest.mark.parametrize("n_bytes", [10, -1, 2**62])
def test_reads_beyond_the_end_are_refused(tmp_path: Path, n_bytes: int) -> None:
    with pytest.raises(FormatError, match="cut short or damaged"):
        file_of(tmp_path, bytes(9)).read(n_bytes)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="file is empty"):
        file_of(tmp_path, b"")
