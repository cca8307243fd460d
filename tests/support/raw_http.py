"""HTTP/1.1 over a socket, byte by byte: requests that no client library would send."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from time import monotonic, sleep
from typing import Any, BinaryIO

from tests.support.asgi import FORM, audio_part, form_body, part

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
TIMEOUT_S = 30.0
"""After so long without a byte a test fails."""

_BLOCK = 64 << 10


@dataclass(frozen=True)
class Answer:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error; checks that it has OpenAI's shape."""
        assert self.status >= 400
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"]
        assert list(self.json) == ["error"]
        error: dict[str, Any] = self.json["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        for name in ("param", "code"):
            assert error[name] is None or isinstance(error[name], str)
        return error


class Connection:
    """A connection to a server on loopback."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._received = self.socket.makefile("rb")

    def send(self, *blocks: bytes) -> None:
        for block in blocks:
            self.socket.sendall(block)

    def send_until_answered(self, blocks: Iterable[bytes]) -> None:
        """Sends blocks until the server has answered, or has closed the connection."""
        try:
            for block in blocks:
                if self.has_answer():
                    return
                self.socket.sendall(block)
        except (BrokenPipeError, ConnectionResetError):
            return

    def has_answer(self, wait_s: float = 0.0) -> bool:
        return bool(select.select([self.socket], [], [], wait_s)[0])

    def answer(self, method: str = "POST") -> Answer:
        """Reads an answer; what comes after it stays to be read."""
        response = HTTPResponse(self.socket, method=method)
        response.fp.close()
        response.fp = _Shared(self._received)  # type: ignore[assignment]
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def read(self, n_bytes: int = -1) -> bytes:
        """Reads bytes as they come, up to the end of the connection or so many."""
        return self._received.read(n_bytes)

    def is_closed_by_server(self) -> bool:
        try:
            return not self._received.read(1)
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._received.close()
        self.socket.close()


class _Shared:
    """The received bytes, which stay open when an answer has been read."""

    def __init__(self, received: BinaryIO) -> None:
        self.read, self.readline, self.readinto = received.read, received.readline, received.readinto  # type: ignore[attr-defined]
        self.flush, self.peek = received.flush, received.peek  # type: ignore[attr-defined]

    def close(self) -> None:
        pass


@contextmanager
def connected(port: int, timeout_s: float = TIMEOUT_S) -> Iterator[Connection]:
    connection = Connection(port, timeout_s)
    try:
        yield connection
    finally:
        connection.close()


def head(method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The first line of a request and its headers, with the Host of loopback unless another is given."""
    lines = [f"{name}: {value}" for name, value in {"Host": "127.0.0.1", **(headers or {})}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def send(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Sends a request with the Content-Length of its body over a connection of its own."""
    length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
    with connected(port) as connection:
        connection.send_until_answered([head(method, path, {**length, **(headers or {})}), body])
        return connection.answer(method)


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return send(port, "GET", path, headers)


def post(
    port: int, body: bytes, headers: Mapping[str, str] | None = None, path: str = TRANSCRIPTIONS
) -> Answer:
    """Posts the body of a form."""
    return send(port, "POST", path, {**FORM, **(headers or {})}, body)


def form(file: bytes | None, fields: Iterable[tuple[str, str]] = (), filename: str = "talk.wav") -> bytes:
    """The body of a form with text fields and, at its end, a file."""
    parts = [part(name, value) for name, value in fields]
    return form_body(*parts, *([] if file is None else [audio_part(file, filename)]))


def transcribe(port: int, file: bytes, *, path: str = TRANSCRIPTIONS, **fields: str) -> Answer:
    """Posts a file with text fields."""
    return post(port, form(file, fields.items()), path=path)


def chunk(block: bytes) -> bytes:
    """A block of a body with Transfer-Encoding: chunked; an empty one ends it."""
    return f"{len(block):x}\r\n".encode() + block + b"\r\n"


def blocks_of(content: bytes, n_bytes: int = _BLOCK) -> Iterator[bytes]:
    for start in range(0, len(content), n_bytes):
        yield content[start : start + n_bytes]


def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Waits until a condition holds; a test fails if it does not."""
    started = monotonic()
    while not condition():
        assert monotonic() - started < timeout_s
        sleep(0.005)
