from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines.runners.external_programs import RunnerError, created_once, run_command
from tests.support.fake_programs import Program


def test_output_of_a_command_is_one_line_without_colours(program: Program) -> None:
    path = program("tool", r"echo -e '\e[1mone'; echo 'go: downloading x'; echo two")
    assert run_command([str(path)], 30) == "one two"


def test_a_command_gets_variables(program: Program) -> None:
    path = program("tool", 'echo "$WHERE"')
    assert run_command([str(path)], 30, {"WHERE": "here"}) == "here"


def test_failed_commands_are_reported(program: Program) -> None:
    path = program("tool", "echo why https://user:secret@host/x; exit 3")
    with pytest.raises(RunnerError, match="tool failed: why") as failed:
        run_command([str(path)], 30)
    assert "secret" not in str(failed.value)
    with pytest.raises(RunnerError, match="none does not work"):
        run_command(["none"], 30)
    with pytest.raises(RunnerError, match=r"does not work: .*timed out"):
        run_command([sys.executable, "-c", "import threading; threading.Event().wait()"], 0.1)


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_path_is_created_once(is_folder: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cache/tool"
    for attempt in range(2):
        with created_once(path, "Building") as folder:
            assert (folder is None) == bool(attempt)
            if folder is not None:
                (folder / "tool").mkdir() if is_folder else (folder / "tool").touch()
                assert not path.exists()
    assert list(path.parent.iterdir()) == [path]
    assert capsys.readouterr().err == f"Building tool into {path.parent}, once; this may take minutes\n"


@pytest.mark.parametrize("is_folder", [True, False])
def test_another_process_may_create_the_path_first(is_folder: bool, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    with created_once(path, "Building") as folder:
        assert folder is not None
        for one in (folder / "tool", path):
            one.mkdir() if is_folder else one.touch()
            if is_folder:
                (one / "file").touch()
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_was_not_created_leaves_no_files(tmp_path: Path) -> None:
    with (
        pytest.raises(RunnerError, match="tool was not created, although"),
        created_once(tmp_path / "tool", "Building"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
