from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from transforms.checkpoint import commit_log
from transforms.checkpoint.commit_log import LogWriter, read_index, release_all_writers
from transforms.core.cancellation import STOP, StopRequestedError

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "log") if request.param == "local" else f"memory://{tmp_path.name}/log"


@pytest.fixture
def open_writer() -> Iterator[Callable[[str], LogWriter]]:
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(LogWriter(url)))


def segments(url: str) -> list[str]:
    fs, root = fsspec.core.url_to_fs(url)
    return sorted(fs.ls(root, detail=False))


def test_committed_results_are_read_back(open_writer: Callable[[str], LogWriter], url: str) -> None:
    assert len(read_index(url)) == 0
    writer = open_writer(url)
    writer.begin(["a", "b", "c"])
    writer.commit(
        list({"a": {"text": "Grüße\n\u2028", "uri": "/x/\udcff.wav", "score": float("nan")}, "b": {}}.items())
    )
    writer.commit([("c", {"number": 0.1 + 0.2})])
    writer.commit([])
    index = read_index(url)
    assert len(index) == 3
    assert "a" in index
    assert "d" not in index
    first = index.read("a")
    assert (first["text"], first["uri"]) == ("Grüße\n\u2028", "/x/\udcff.wav")
    assert first["score"] != first["score"]
    assert index.read("c")["number"] == 0.1 + 0.2
    with pytest.raises(KeyError):
        index.read("d")


def test_attempts_are_counted_over_all_processes(open_writer: Callable[[str], LogWriter], url: str) -> None:
    for _ in range(3):
        writer = open_writer(url)
        writer.begin(["crashing", "done"])
        writer.close()
    open_writer(url).commit(list({"done": {}}.items()))
    index = read_index(url)
    assert +index.n_crashed == Counter({"crashing": 3, "done": 2})
    assert "crashing" not in index


def test_a_released_attempt_does_not_count(url: str, open_writer: Callable[[str], LogWriter]) -> None:
    writer = open_writer(url)
    for _ in range(2):
        writer.begin(["a", "b"])
        writer.release(["a"])
    assert +read_index(url).n_crashed == Counter({"b": 2})


def test_no_work_begins_once_the_run_is_to_stop(open_writer: Callable[[str], LogWriter], url: str) -> None:
    """What a thread began after all was released would count as a crash."""
    writer = open_writer(url)
    writer.begin(["a"])
    STOP.set()
    try:
        release_all_writers()
        with pytest.raises(StopRequestedError):
            writer.begin(["b"])
    finally:
        STOP.clear()
    assert not +read_index(url).n_crashed


def test_all_started_work_of_a_process_is_released_at_its_end(
    open_writer: Callable[[str], LogWriter], url: str
) -> None:
    writer = open_writer(url)
    writer.begin(["a", "b", "c"])
    writer.commit([("a", {})])
    writer.close()
    writer.begin(["d"])
    assert +read_index(url).n_crashed == Counter("bcd")
    release_all_writers()
    assert not +read_index(url).n_crashed
    release_all_writers()
    assert min(read_index(url).n_crashed.values(), default=0) == 0


def test_a_process_that_is_interrupted_releases_its_work(tmp_path: Path) -> None:
    program = (
        "import sys; from transforms.checkpoint.commit_log import LogWriter;"
        "w = LogWriter(sys.argv[1]); w.begin(['a', 'b']); raise KeyboardInterrupt"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, capture_output=True, cwd=ROOT
    )
    assert child.returncode == -signal.SIGINT
    assert segments(str(tmp_path)) != []
    assert not read_index(str(tmp_path)).n_crashed


def test_a_unit_can_be_released_on_a_full_disk(
    open_writer: Callable[[str], LogWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(str(tmp_path))
    writer.begin(["a", "b"])
    writer.commit([("c", {})])
    (segment,) = segments(str(tmp_path))
    size = os.path.getsize(segment)

    def full(self: LogWriter) -> IO[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    def synced(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commit_log.os, "fsync", synced)
    monkeypatch.setattr(LogWriter, "_new_file", full)
    with pytest.raises(OSError, match="No space left"):
        writer.commit([("a", {"text": "long"})])
    with pytest.raises(OSError, match="No space left"):
        writer.begin(["d"])
    writer.release(["a", "d"])
    release_all_writers()
    assert segments(str(tmp_path)) == [segment]
    assert os.path.getsize(segment) == size
    index = read_index(str(tmp_path))
    assert (list(index.n_crashed.elements()), len(index)) == ([], 1)


def test_the_latest_attempt_counts(url: str, open_writer: Callable[[str], LogWriter]) -> None:
    for attempt in (2, 3, 1, 3):
        writer = open_writer(url)
        writer.commit([("a", {"attempt": attempt, "n": attempt})])
    assert read_index(url).read("a")["n"] == 3


def test_writers_have_segments_of_their_own_and_the_same_unit_counts_once(
    open_writer: Callable[[str], LogWriter], url: str
) -> None:
    one, other = open_writer(url), open_writer(url)
    one.commit([("a", {"n": 1})])
    other.commit([("a", {"n": 1}), ("b", {"n": 2})])
    one.commit([("c", {"n": 3})])
    index = read_index(url)
    assert len(index) == 3
    assert [index.read(key)["n"] for key in "abc"] == [1, 2, 3]


@given(cut=st.integers(0, 400), garbage=st.binary(max_size=20))
def test_complete_records_of_a_cut_segment_count(
    tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes
) -> None:
    url = str(tmp_path_factory.mktemp("log"))
    ends, key_of = [], "k{}".format
    with closing(LogWriter(url)) as writer:
        for number in range(8):
            writer.commit([(key_of(number), {"text": "x" * number})])
            ends.append(os.path.getsize(segments(url)[0]))
    content = Path(segments(url)[0]).read_bytes()
    Path(segments(url)[0]).write_bytes(content[:cut] + garbage)
    index = read_index(url)
    assert [key_of(n) in index for n, end in enumerate(ends) if end <= cut] == [True] * sum(
        end <= cut for end in ends
    )
    assert len(index) <= sum(end - 1 <= cut for end in ends)  # a line break may be among the garbage


def test_a_damaged_record_is_skipped_with_a_warning(
    open_writer: Callable[[str], LogWriter], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = str(tmp_path)
    open_writer(url).commit([("a", {"text": "abc"}), ("b", {"text": "def"})])
    path = Path(segments(url)[0])
    path.write_bytes(path.read_bytes().replace(b"abc", b"abd"))
    index = read_index(url)
    assert "a" not in index
    assert index.read("b")["text"] == "def"
    assert "damaged record at byte 0" in caplog.text


def test_committed_results_survive_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from transforms.checkpoint.commit_log import LogWriter;"
        "w = LogWriter(sys.argv[1]); w.begin(['a', 'b']); w.commit([('a', {'n': 1})]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert child.returncode == -9
    index = read_index(str(tmp_path))
    assert (index.read("a")["n"], "b" in index, index.n_crashed["b"]) == (1, False, 1)


def test_a_commit_is_forced_to_the_disk_and_a_start_is_not(
    open_writer: Callable[[str], LogWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        commit_log.os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
    )
    writer = open_writer(str(tmp_path))
    writer.begin(["a"])
    assert synced == [True]  # the name of the new segment
    writer.commit([("a", {})])
    assert synced == [True, False]


def test_earlier_commits_are_intact_when_the_disk_is_full(
    open_writer: Callable[[str], LogWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(str(tmp_path))
    writer.commit([("a", {"n": 1})])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(commit_log.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            writer.commit([("b", {"n": 2})])
    writer.commit([("c", {"n": 3})])
    index = read_index(str(tmp_path))
    assert index.read("a")["n"] == 1
    assert index.read("c")["n"] == 3


def test_the_index_drops_the_counts_of_finished_units(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path))
    for key in ("a", "b", "c"):
        log.begin([key])
    log.commit([("a", {}), ("b", {})])
    assert read_index(str(tmp_path)).n_crashed == Counter("c")
    assert len(read_index(str(tmp_path)).n_crashed) == 1


def test_entries_that_are_no_segment_are_skipped_with_a_warning(
    open_writer: Callable[[str], LogWriter],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_writer(str(tmp_path)).commit([("a", {})])
    (tmp_path / "folder.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "nothing.log").write_bytes(b"00000000 \n")
    (tmp_path / "secret.log").write_bytes(b"")
    really_open = LocalFileSystem.open

    def refused(self: LocalFileSystem, path: str, *args: object) -> object:
        if "secret" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really_open(self, path, *args)

    monkeypatch.setattr(LocalFileSystem, "open", refused)
    assert "a" in read_index(str(tmp_path))
    for warning in (
        "folder.log is not a file",
        "pipe.log is not a file",
        "secret.log cannot be read (Permission",
    ):
        assert warning in caplog.text
