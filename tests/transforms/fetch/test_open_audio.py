from __future__ import annotations

import io
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from tests.support.downloads import BODY, stalling
from tests.support.servers import LOCAL, QUICK, Server, send
from tests.support.stops import OwnStopError, StopAfter, StopSoon
from transforms.core.errors import AudioError
from transforms.core.uris import audio_source
from transforms.fetch.host_slots import HOSTS, UNRESPONSIVE_AFTER
from transforms.fetch.open_audio import open_audio, open_in_place
from transforms.fetch.policy import FetchPolicy
from transforms.fetch.spool import DISK


def error_of(uri: str, payload: bytes | None = None) -> AudioError:
    with pytest.raises(AudioError) as caught, open_audio(audio_source(uri, payload)):
        pass
    assert caught.value.stage == "fetch"
    assert caught.value.message
    return caught.value


def test_payload_is_opened() -> None:
    with open_audio(audio_source("dataset://d/train/0/0", b"bytes")) as file:
        assert file.read() == b"bytes"
        assert file.seek(1) == 1


@pytest.mark.parametrize("name", ["a.wav", "a b.wav", "ünï.wav", "new\nline.wav", "a%20b?*[x].wav"])
def test_local_file_is_opened_in_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"bytes")
    with open_audio(audio_source(str(tmp_path / name))) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b"bytes"
    assert file.closed


def test_errors_of_local_files_have_kinds(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    assert error_of(str(tmp_path / "none.wav")).kind == "not_found"
    assert error_of(str(tmp_path / "empty.wav" / "inside.wav")).kind == "not_found"
    assert error_of(str(tmp_path / "nul\0.wav")).kind == "not_found"
    assert error_of(str(tmp_path / ("x" * 300))).kind == "io"
    assert error_of(str(tmp_path)).kind == "not_a_file"
    assert error_of(str(tmp_path / "pipe.wav")).kind == "not_a_file"
    assert error_of(str(tmp_path / "empty.wav")).kind == "empty"
    assert error_of("dataset://d/train/0/0", b"").kind == "empty"


def test_unreadable_file_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)  # tests may run as root, which can read everything
    assert error_of(str(tmp_path / "a.wav")).kind == "forbidden"


def test_default_policy_allows_public_hosts_only() -> None:
    assert error_of("http://127.0.0.1:9/a.wav").kind == "forbidden_host"


def test_an_object_is_opened_in_place_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open("memory://in-place/a.wav", "wb") as file:
        file.write(b"bytes")
    monkeypatch.setattr("transforms.fetch.open_audio.Spool", None)  # calling it would fail
    with open_in_place(audio_source("memory://in-place/a.wav")) as file:
        assert file.read(2) == b"by"


def test_a_payload_and_a_local_file_are_opened_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"local")
    for source in (audio_source("s3://bucket/a", b"bytes"), audio_source(str(tmp_path / "a.wav"))):
        with open_in_place(source) as file:
            assert file.read() in (b"bytes", b"local")


def test_a_private_host_is_refused_before_a_file_is_opened_in_place() -> None:
    with (
        pytest.raises(AudioError, match="forbidden_host"),
        open_in_place(audio_source("sftp://127.0.0.1/a.wav")),
    ):
        pass


def test_a_local_file_is_opened_without_a_check(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"bytes")
    check = StopAfter(1)
    with open_audio(audio_source(str(tmp_path / "a.wav")), LOCAL, check):
        assert check.n_made == 0


def cancelled(url: str, policy: FetchPolicy) -> None:
    """Opens a recording, which is cancelled meanwhile."""
    n_files, n_reserved = len(os.listdir("/proc/self/fd")), DISK._reserved
    with StopSoon() as check, pytest.raises(OwnStopError), open_audio(audio_source(url), policy, check):
        pass
    assert len(os.listdir("/proc/self/fd")) <= n_files + 1  # of the server
    assert DISK._reserved == n_reserved
    assert [thread for thread in threading.enumerate() if thread.name == "download watchdog"] == []


WAITS = replace(QUICK, connect_s=20, read_s=20, stall_s=20, give_up_s=60, back_off_s=9, max_wait_s=9)
PATIENT = replace(LOCAL, limits=WAITS)


@pytest.mark.parametrize("at", ["start", "headers", "body", "chunk size"])
def test_a_download_is_cancelled_wherever_it_stalls(server: Server, at: str) -> None:
    server.answer = stalling(server, at)
    cancelled(f"{server.url}/a.wav", PATIENT)
    assert len(server.requests) == 1


def test_a_download_from_an_unresponsive_host_is_cancelled_too(server: Server) -> None:
    """Although it would not be tried again, so that no wait between two attempts calls the check."""
    for _ in range(UNRESPONSIVE_AFTER):
        HOSTS.record_no_answer("127.0.0.1")
    server.answer = stalling(server, "start")
    cancelled(f"{server.url}/a.wav", PATIENT)
    assert HOSTS._n_unanswered.pop("127.0.0.1") == UNRESPONSIVE_AFTER


def test_a_download_is_cancelled_between_two_attempts(server: Server) -> None:
    server.answer = lambda handler: send(handler, 503)
    cancelled(f"{server.url}/a.wav", PATIENT)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("_direct")
def test_a_download_is_cancelled_while_it_connects() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):  # nothing accepts: the next connection is not answered
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        cancelled(f"http://127.0.0.1:{listener.getsockname()[1]}/a.wav", PATIENT)


def test_a_download_is_cancelled_while_it_waits_for_its_host(server: Server) -> None:
    with HOSTS.slot("127.0.0.1", 1, 1):
        cancelled(f"{server.url}/a.wav", replace(LOCAL, limits=replace(WAITS, per_host=1)))
    assert server.requests == []


def test_a_download_is_cancelled_while_it_waits_for_space(server: Server) -> None:
    full = replace(WAITS, bytes_in_memory=10, bytes_total=DISK._reserved + len(BODY))
    DISK.reserve(1000, full)
    try:
        cancelled(f"{server.url}/a.wav", replace(LOCAL, limits=full))
    finally:
        DISK.release(1000, 1000)


def test_a_copy_of_an_object_is_cancelled_between_two_blocks() -> None:
    with fsspec.open("memory://large/a.wav", "wb") as file:
        file.write(bytes(5 << 20))
    check = StopAfter(2)
    with pytest.raises(OwnStopError), open_audio(audio_source("memory://large/a.wav"), LOCAL, check):
        pass
    assert check.n_made == 2
