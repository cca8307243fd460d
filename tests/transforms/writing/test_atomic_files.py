from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from transforms.writing.atomic_files import OutputError, atomic_write, move_files, remove_folder


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "new") if request.param == "local" else f"memory://{tmp_path.name}/new"


def test_file_exists_once_the_block_ends_and_not_before(folder: str) -> None:
    fs, root = fsspec.core.url_to_fs(folder)
    with atomic_write(f"{folder}/a.bin") as file:
        file.write(b"whole")
        assert not fs.exists(f"{root}/a.bin")
    assert fs.cat_file(f"{root}/a.bin") == b"whole"
    assert [Path(name).name for name in fs.ls(root, detail=False)] == ["a.bin"]


def test_block_that_raises_leaves_only_the_existing_file(folder: str) -> None:
    fs, root = fsspec.core.url_to_fs(folder)
    with atomic_write(f"{folder}/a.bin") as file:
        file.write(b"before")

    def break_off() -> None:
        with atomic_write(f"{folder}/a.bin") as file:
            file.write(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        break_off()
    assert fs.cat_file(f"{root}/a.bin") == b"before"
    assert [Path(name).name for name in fs.ls(root, detail=False)] == ["a.bin"]


def test_local_file_has_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_write(str(tmp_path / "published")):
        pass
    assert (tmp_path / "published").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "cannot be written: No space left on device; free some space, and give the same"),
        (errno.EROFS, "cannot be written: Read-only file system"),
    ],
)
def test_error_of_a_full_or_read_only_disk_names_the_file(number: int, message: str, folder: str) -> None:
    def write() -> None:
        with atomic_write(f"{folder}/a.bin") as file:
            file.write(b"half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=f"{re.escape(folder)}/a.bin {message}"):
        write()
    fs, root = fsspec.core.url_to_fs(folder)
    assert not fs.exists(root) or fs.ls(root) == []


def test_error_contains_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OutputError(None, "refused", "https://host/a.bin")
    assert str(error) == "https://host/a.bin cannot be written: refused"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)

    def refuse(self: MemoryFileSystem, *args: object, **named: object) -> None:
        raise PermissionError("Access Denied")  # as s3fs does, without a number

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    refused = pytest.raises(OutputError, match=r"^memory://b/a cannot be written: Access Denied$")
    with refused, atomic_write("memory://me:s3cret@b/a"):
        pass


def test_names_that_look_like_patterns_are_moved_and_removed_in_a_store() -> None:
    fs = fsspec.filesystem("memory")
    names = ["[1].srt", "1.srt", "[2].srt"]
    for name in names:
        fs.pipe_file(f"/patterns/out[1]/next/{name}", name.encode())
    old, new = "/patterns/out[1]/next", "/patterns/out[1]/srt"
    move_files(fs, [(f"{old}/{name}", f"{new}/{name}") for name in names[:2]])
    assert sorted(fs.find("/patterns")) == [f"{old}/[2].srt", f"{new}/1.srt", f"{new}/[1].srt"]
    assert fs.cat_file(f"{new}/[1].srt") == b"[1].srt"
    remove_folder(fs, old)
    assert sorted(fs.find("/patterns")) == [f"{new}/1.srt", f"{new}/[1].srt"]
