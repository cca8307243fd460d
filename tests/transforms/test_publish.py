from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from transforms.publish import published


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "new") if request.param == "local" else f"memory://{tmp_path.name}/new"


def test_the_file_is_there_when_the_block_ends_and_not_before(folder: str) -> None:
    fs, root = fsspec.core.url_to_fs(folder)
    with published(f"{folder}/a.bin") as file:
        file.write(b"whole")
        assert not fs.exists(f"{root}/a.bin")
    assert fs.cat_file(f"{root}/a.bin") == b"whole"
    assert [Path(name).name for name in fs.ls(root, detail=False)] == ["a.bin"]


def test_a_block_that_raises_leaves_the_earlier_file_and_no_other(folder: str) -> None:
    fs, root = fsspec.core.url_to_fs(folder)
    with published(f"{folder}/a.bin") as file:
        file.write(b"before")

    def break_off() -> None:
        with published(f"{folder}/a.bin") as file:
            file.write(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        break_off()
    assert fs.cat_file(f"{root}/a.bin") == b"before"
    assert [Path(name).name for name in fs.ls(root, detail=False)] == ["a.bin"]


def test_a_local_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with published(str(tmp_path / "published")):
        pass
    assert (tmp_path / "published").stat().st_mode == (tmp_path / "usual").stat().st_mode
