from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from transforms import fetch
from transforms.errors import AudioError
from transforms.fetch import open_audio
from transforms.uris import audio_source


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACK_OFF_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def read(uri: str) -> bytes:
    with open_audio(audio_source(uri)) as file:
        assert file.tell() == 0
        return file.read()


def error_of(uri: str, payload: bytes | None = None) -> AudioError:
    with pytest.raises(AudioError) as caught, open_audio(audio_source(uri, payload)):
        pass
    assert caught.value.stage == "fetch"
    assert caught.value.message
    return caught.value


def test_a_payload_is_opened_as_it_is() -> None:
    with open_audio(audio_source("dataset://d/train/0/0", b"bytes")) as file:
        assert file.read() == b"bytes"
        assert file.seek(1) == 1


@pytest.mark.parametrize("name", ["a.wav", "a b.wav", "ünï.wav", "new\nline.wav", "a%20b?*[x].wav"])
def test_a_local_file_is_opened_in_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"bytes")
    with open_audio(audio_source(str(tmp_path / name))) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b"bytes"
    assert file.closed


def test_local_problems_have_their_kinds(tmp_path: Path) -> None:
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


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)  # the tests may run as root, who may read all
    assert error_of(str(tmp_path / "a.wav")).kind == "forbidden"


def test_a_url_of_any_file_system() -> None:
    fsspec.filesystem("memory").pipe("/fetch/a.wav", b"bytes" * 1000)
    assert read("memory://fetch/a.wav") == b"bytes" * 1000
    assert error_of("memory://fetch/b.wav").kind == "not_found"
    assert error_of("nosuchscheme://fetch/b.wav").kind == "unsupported"


class FlakyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Fails to open as often as told, and claims that files are longer than they are."""

    protocol = "flaky"
    failures: list[Exception] = []  # noqa: RUF012
    claimed_extra = 0

    def _open(self, path: str, *args: object, **kwargs: object) -> io.BytesIO:
        if self.failures:
            raise self.failures.pop()
        file = io.BytesIO(b"bytes")
        file.size = 5 + self.claimed_extra  # type: ignore[attr-defined]
        return file


fsspec.register_implementation("flaky", FlakyFileSystem)


def test_a_file_system_that_breaks_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "failures", [RuntimeError("503"), OSError("reset"), TimeoutError()])
    assert read("flaky://a.wav") == b"bytes"
    monkeypatch.setattr(FlakyFileSystem, "failures", [OSError("reset")] * 4)
    error = error_of("flaky://a.wav")
    assert (error.kind, error.retryable, error.message) == ("io", True, "OSError: reset")


@pytest.mark.parametrize(
    ("failure", "kind"), [(PermissionError("no"), "forbidden"), (IsADirectoryError("a"), "not_a_file")]
)
def test_what_stays_wrong_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, kind: str
) -> None:
    monkeypatch.setattr(FlakyFileSystem, "failures", [failure])
    assert error_of("flaky://a.wav").kind == kind


def test_an_object_shorter_than_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "claimed_extra", 3)
    error = error_of("flaky://a.wav")
    assert (error.kind, error.message) == ("short_body", "5 of 8 bytes came")


Answer = tuple[int, bytes, int | None]
"""A status, a body, and the Content-Length to claim for it, None for the true one."""


class Server:
    """An HTTP server on loopback that gives the answers it was told, in order, the last for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                answers = server.answers
                status, body, length = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                if 300 <= status < 400:
                    self.send_header("Location", self.path)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


BODY = b"bytes" * 100_000


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: Server, status: int) -> None:
    server.answers = [(status, b"busy", None), (status, b"busy", None), (200, BODY, None)]
    assert read(f"{server.url}/a%20b.wav?x=1") == BODY
    assert server.requests == ["/a%20b.wav?x=1"] * 3


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "attempts"),
    [
        (404, "not_found", False, 1), (410, "not_found", False, 1), (401, "forbidden", False, 1),
        (403, "forbidden", False, 1), (400, "http_400", False, 1), (503, "http_503", True, 4),
        (302, "bad_url", False, 6),
    ],
)  # fmt: skip
def test_a_refusal_has_its_kind(
    server: Server, status: int, kind: str, retryable: bool, attempts: int
) -> None:
    server.answers = [(status, b"", None)]
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable) == (kind, retryable)
    assert len(server.requests) == attempts
    assert error.attempts == (attempts if retryable else 1)  # the 302s are one attempt


def test_a_short_body_is_no_recording(server: Server) -> None:
    server.answers = [(200, BODY[:1000], len(BODY))]
    error = error_of(f"{server.url}/a.wav")
    assert (error.kind, error.retryable) == ("short_body", True)
    assert len(server.requests) == 4


def test_a_short_body_is_fetched_again_from_the_start(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BLOCK_BYTES", 1000)
    server.answers = [(200, b"x" * len(BODY) * 2, len(BODY) * 3), (200, BODY, None)]
    assert read(f"{server.url}/a.wav") == BODY


def test_an_empty_body(server: Server) -> None:
    server.answers = [(200, b"", None)]
    assert error_of(f"{server.url}/a.wav").kind == "empty"


def test_nobody_listens(server: Server) -> None:
    server.close()
    error = error_of(f"{server.url}/a.wav?X-Amz-Signature=secret")
    assert (error.kind, error.retryable) == ("connection", True)
    assert "secret" not in error.message


def test_a_server_that_never_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_S", (1.0, 0.05))
    monkeypatch.setattr(fetch, "BACK_OFF_S", ())
    server.answers = [(200, b"some", 1000)]
    release = threading.Event()
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.end_headers", lambda _: release.wait(5))
    try:
        error = error_of(f"{server.url}/a.wav")
    finally:
        release.set()
    assert (error.kind, error.retryable) == ("timeout", True)


@pytest.mark.parametrize("url", ["http://", "http://[broken/a.wav", "http://h:port/a.wav"])
def test_a_broken_url(url: str) -> None:
    assert error_of(url).kind == "bad_url"


@pytest.mark.parametrize("name", ["a.wav", "memory"])
def test_more_than_the_cap_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", len(BODY) - 1)
    fsspec.filesystem("memory").pipe("/fetch/large.wav", BODY)
    server.answers = [(200, BODY, None)]
    url = "memory://fetch/large.wav" if name == "memory" else f"{server.url}/{name}"
    error = error_of(url)
    assert (error.kind, error.retryable) == ("too_large", False)
    monkeypatch.setattr(fetch, "MAX_BYTES", len(BODY))
    assert read(url) == BODY


def test_a_large_copy_goes_to_the_disk_and_is_deleted(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fetch, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server.answers = [(200, BODY, None)]
    with open_audio(audio_source(f"{server.url}/a.wav")) as file:
        descriptor = file.fileno()
        assert os.fstat(descriptor).st_size == len(BODY)
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_a_copy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    server.answers = [(200, BODY, None)]
    error = error_of(f"{server.url}/a.wav")
    assert error.kind == "no_room"
    assert "TMPDIR" in error.message
