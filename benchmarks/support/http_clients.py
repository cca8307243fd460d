"""Clients of the server for the benchmarks, on the standard library alone, so that they cost little."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

TRANSCRIPTIONS = "/v1/audio/transcriptions"
BLOCK = 1 << 20  # bytes
_BOUNDARY = "boundary-of-the-benchmark"
_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Answer:
    """The answer to a request; `seconds` are those from its start to the last byte of the answer."""

    status: int
    body: bytes
    seconds: float


def get(port: int, path: str) -> Answer:
    """Sends a GET over a new connection."""
    started = perf_counter()
    with closing(_connection(port)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read(), perf_counter() - started)


def transcribe(port: int, file: Path | bytes, **fields: str) -> Answer:
    """Posts a recording and waits for the answer.

    Args:
        port: port of the server.
        file: the recording, or its content.
        fields: further fields of the form.
    """
    started = perf_counter()
    with closing(_connection(port)) as connection:
        _send(connection, file, fields)
        response = connection.getresponse()
        return Answer(response.status, response.read(), perf_counter() - started)


def upload(port: int, file: Path | bytes, **fields: str) -> HTTPConnection:
    """Posts a recording, and returns without the answer; to cancel the request, close the connection."""
    connection = _connection(port)
    _send(connection, file, fields)
    return connection


def upload_silence(port: int, n_bytes: int) -> int:
    """Posts a WAV file of silence of that size as fast as the server takes it, then closes the connection.

    Returns:
        The status of an answer that came before the end of the upload; 0 if none did.
    """
    connection = _connection(port)
    with closing(connection):
        try:
            _send_blocks(connection, _silence(n_bytes), n_bytes, {})
        except (OSError, HTTPException):  # the server has answered, and reads no further
            try:
                return connection.getresponse().status
            except (OSError, HTTPException):
                return -1
    return 0


def in_parallel(n_clients: int, jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Calls functions in `n_clients` threads, each taking the next one; returns their results in order."""
    with ThreadPoolExecutor(n_clients) as pool:
        return list(pool.map(lambda job: job(), jobs))


def free_port() -> int:
    """Returns a port of the loopback address that is free at present."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _connection(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)


def _send(connection: HTTPConnection, file: Path | bytes, fields: dict[str, str]) -> None:
    if isinstance(file, bytes):
        _send_blocks(connection, [file], len(file), fields)
    else:
        _send_blocks(connection, _blocks(file), file.stat().st_size, fields)


def _send_blocks(
    connection: HTTPConnection, blocks: Iterable[bytes], n_bytes: int, fields: dict[str, str]
) -> None:
    head = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="upload"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    tail = f"\r\n--{_BOUNDARY}--\r\n"

    def body() -> Iterator[bytes]:
        yield head.encode()
        yield from blocks
        yield tail.encode()

    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(head) + n_bytes + len(tail)),
    }
    connection.request("POST", TRANSCRIPTIONS, body(), headers)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _silence(n_bytes: int) -> Iterator[bytes]:
    """Yields a WAV file, 16 bits at 16 kHz, of `n_bytes` with its header."""
    n_samples = (n_bytes - 44) // 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    yield b"RIFF" + struct.pack("<I", 2 * n_samples + 36) + b"WAVE" + form
    yield b"data" + struct.pack("<I", 2 * n_samples)
    block, left = bytes(BLOCK), n_bytes - 44
    while left > 0:
        yield block[:left]
        left -= BLOCK
