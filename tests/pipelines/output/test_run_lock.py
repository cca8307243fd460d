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
from pipelines.output.run_lock import exclusive_access
from tests.support.tone_backend import LOADED, run, write_talk

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pipelines.output.run_folder import RunFolder
from pipelines.output.run_lock import exclusive_access
with exclusive_access(RunFolder(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that writes to the folder."""
    program = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_second_run_is_refused_and_changes_nothing(
    tmp_path: Path, out: Path, holder: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 2)
    LOADED.clear()
    assert run(tmp_path / "a.wav", out) == 1
    message = f"--output {out} is being written by process {holder.pid}; wait for its end"
    assert message in capsys.readouterr().err
    assert LOADED == []
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == [".whisper-beam/lock"]


def test_lock_of_a_killed_run_is_released(out: Path, holder: subprocess.Popen[bytes]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(30)
    with exclusive_access(RunFolder(str(out))):
        assert (out / ".whisper-beam/lock").read_text() == f"{os.getpid()}\n"
    assert (out / ".whisper-beam/lock").read_text() == ""


def test_lock_is_released_after_an_error(out: Path) -> None:
    folder = RunFolder(str(out))
    with pytest.raises(ZeroDivisionError), exclusive_access(folder):
        raise ZeroDivisionError
    with exclusive_access(folder):
        message = (
            f"--output {re.escape(str(out))} is being written by process {os.getpid()}; wait for its end"
        )
        with pytest.raises(RunFolderError, match=message), exclusive_access(folder):
            pass


def test_object_stores_and_file_systems_without_locks_are_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = RunFolder(f"memory://{tmp_path.name}/out")
    with exclusive_access(bucket), exclusive_access(bucket):
        assert bucket.parts() == []

    def no_locks(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", no_locks)
    folder = RunFolder(str(tmp_path))
    with exclusive_access(folder), exclusive_access(folder):
        pass


def test_refused_folder_is_not_changed(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    (out / "transcripts").mkdir(parents=True)
    assert run(tmp_path / "a.wav", out) == 1
    assert [path.name for path in out.iterdir()] == ["transcripts"]
