from __future__ import annotations

import io
import threading
import wave
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from python_multipart import parse_form

from benchmarks.support.http_clients import free_port, get, in_parallel, transcribe, upload, upload_silence


@dataclass
class Received:
    """The forms that a server has received."""

    fields: list[dict[str, bytes]] = field(default_factory=list)
    changed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def server(refuse: bool = False) -> Iterator[tuple[int, Received]]:
    """Accepts forms; or refuses them before it reads their bodies."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, self.path.encode())

        def do_POST(self) -> None:
            if refuse:
                self._answer(413, b"too large")
                self.close_connection = True
                return
            content = self.rfile.read(int(self.headers["Content-Length"]))
            found: dict[str, bytes] = {}
            parse_form(
                {
                    "Content-Type": self.headers["Content-Type"].encode(),
                    "Content-Length": str(len(content)).encode(),
                },
                io.BytesIO(content),
                lambda one: found.update({one.field_name.decode(): one.value}),
                lambda one: found.update({one.field_name.decode(): _content(one.file_object)}),
            )
            received.fields.append(found)
            received.changed.set()
            with suppress(OSError):  # the client is gone
                self._answer(200, b"text")

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_port, received
        finally:
            http.shutdown()
            thread.join()


def _content(file: io.BytesIO) -> bytes:
    with file:
        file.seek(0)
        return file.read()


def test_form_has_the_file_and_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\r\n" * 500_000)
    with server() as (port, received):
        answer = transcribe(port, path, language="en", response_format="text")
        transcribe(port, b"\x00--\r\n")
    assert (answer.status, answer.body) == (200, b"text")
    assert answer.seconds > 0
    first, second = received.fields
    assert first == {"language": b"en", "response_format": b"text", "file": path.read_bytes()}
    assert second == {"file": b"\x00--\r\n"}


def test_get() -> None:
    with server() as (port, _):
        assert get(port, "/health").body == b"/health"


def test_upload_leaves_the_answer_to_the_caller() -> None:
    with server() as (port, received):
        with closing(upload(port, b"RIFF")) as connection:
            assert connection.getresponse().status == 200
        assert received.fields == [{"file": b"RIFF"}]


def test_silence_is_a_wav_file_of_that_size() -> None:
    with server() as (port, received):
        assert upload_silence(port, 3_000_044) == 0
        assert received.changed.wait(10)  # the client does not wait for the answer
    content = received.fields[0]["file"]
    assert len(content) == 3_000_044
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnframes(), file.getsampwidth()) == (16_000, 1_500_000, 2)
        assert not any(file.readframes(1000))


def test_refused_upload_has_the_status_of_the_answer() -> None:
    with server(refuse=True) as (port, _):
        assert upload_silence(port, 500_000_000) in (413, -1)  # -1: the connection was reset too soon


def test_jobs_of_clients_run_at_the_same_time() -> None:
    barrier = threading.Barrier(4, timeout=10)
    assert sorted(in_parallel(4, [barrier.wait] * 8)) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_results_are_in_the_order_of_the_jobs() -> None:
    assert in_parallel(3, [lambda n=n: n for n in range(10)]) == list(range(10))


def test_error_of_a_job_is_raised() -> None:
    with pytest.raises(OSError):  # noqa: PT011  # whichever the system has
        in_parallel(2, [lambda: get(free_port(), "/health")])
