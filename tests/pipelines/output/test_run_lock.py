from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.output import run_lock
from pipelines.output.run_folder import RunFolder, RunFolderError
from pipelines.output.run_lock import only_run
from tests.support.tone_backend import LOADED, run, write_talk

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pipelines.output.run_folder import RunFolder
from pipelines.output.run_lock import only_run
with only_run(RunFolder(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that writes to the folder."""
    program = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_with_a_sentence_and_changes_nothing(
    tmp_path: Path, out: Path, holder: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    LOADED.clear()
    assert run(tmp_path / "a.wav", out) == 1
    said = f"--output {out} is being written by process {holder.pid}; wait for its end"
    assert said in capsys.readouterr().err
    assert LOADED == []
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == [".whisper-beam/lock"]


def test_a_run_that_was_killed_holds_nothing(out: Path, holder: subprocess.Popen[bytes]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(30)
    with only_run(RunFolder(str(out))):
        assert (out / ".whisper-beam/lock").read_text() == f"{os.getpid()}\n"
    assert (out / ".whisper-beam/lock").read_text() == ""


def test_it_is_let_go_of_whatever_ends_the_run(out: Path) -> None:
    folder = RunFolder(str(out))
    with pytest.raises(ZeroDivisionError), only_run(folder):
        raise ZeroDivisionError
    with only_run(folder):
        message = (
            f"--output {re.escape(str(out))} is being written by process {os.getpid()}; wait for its end"
        )
        with pytest.raises(RunFolderError, match=message), only_run(folder):
            pass


def test_object_stores_and_file_systems_without_locks_are_written_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = RunFolder(f"memory://{tmp_path.name}/out")
    with only_run(bucket), only_run(bucket):
        assert bucket.parts() == []

    def none(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", none)
    folder = RunFolder(str(tmp_path))
    with only_run(folder), only_run(folder):
        pass


def test_a_refused_folder_is_left_as_it_was(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (out / "transcripts").mkdir(parents=True)
    assert run(tmp_path / "a.wav", out) == 1
    assert [path.name for path in out.iterdir()] == ["transcripts"]
