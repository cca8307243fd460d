"""The limits of an upload over a socket: what is read of it, and memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.server.server import Server
from tests.support.asgi import BOUNDARY, FORM
from tests.support.bombs import long_opus, long_silence
from tests.support.raw_http import TRANSCRIPTIONS, Answer, chunk, connected, form, head, post, transcribe
from tests.support.resources import CAN_MEASURE_MEMORY, measured_peak
from tests.support.server_backends import COUNTING, talk

LIMIT = 4 << 20
BLOCK = 64 << 10
START = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server that takes at most 4 MiB."""
    with Server(backend=COUNTING, model="m", port=0, max_upload_mb=LIMIT / (1 << 20)) as server:
        yield server


class Received:
    """Bytes that the server has read from sockets."""

    def __init__(self) -> None:
        self.n_bytes = 0


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Received:
    received, read = Received(), H11Protocol.data_received

    def count(protocol: H11Protocol, data: bytes) -> None:
        received.n_bytes += len(data)
        read(protocol, data)

    monkeypatch.setattr(H11Protocol, "data_received", count)
    return received


def check_too_large(answer: Answer) -> None:
    assert answer.status == 413
    assert answer.error["type"] == "server_error"
    assert f"Maximum content size limit ({LIMIT}) exceeded (" in answer.error["message"]
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("is_form", [True, False])
def test_endless_body(small: Server, received: Received, is_form: bool) -> None:
    """Without Content-Length nobody knows how much will come."""

    def endless() -> Iterator[bytes]:
        if is_form:
            yield chunk(START)
        while True:
            yield chunk(bytes(BLOCK))

    with connected(small.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Transfer-Encoding": "chunked"}))
        connection.send_until_answered(endless())
        answer = connection.answer()
        connection.send_until_answered(endless())
        while not connection.is_closed_by_server():
            pass
    if is_form:
        check_too_large(answer)
        assert received.n_bytes >= LIMIT
    else:
        assert answer.status == 400
    assert received.n_bytes <= LIMIT + 1_000_000


@pytest.mark.parametrize("expects", [{}, {"Expect": "100-continue"}], ids=["", "expect"])
@pytest.mark.parametrize("n_bytes", [LIMIT + 1_000_000, 1 << 40, 10**19])
def test_length_over_the_limit(
    small: Server, received: Received, n_bytes: int, expects: dict[str, str]
) -> None:
    """The answer comes before anything of the body was sent, and without a call for it."""
    with connected(small.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, **expects, "Content-Length": str(n_bytes)}))
        first = connection.read(12)
        assert first == b"HTTP/1.1 413"
    assert received.n_bytes < 1_000


def test_expected_body_is_called_for(small: Server) -> None:
    body = form(talk(1))
    headers = {**FORM, "Expect": "100-continue", "Content-Length": str(len(body))}
    with connected(small.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, headers))
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"[:25]
        connection.send(body)
        assert connection.answer().json["text"] == "window"


def test_client_that_sends_all_before_it_reads_gets_the_answer(small: Server) -> None:
    """As `requests` and curl do: a connection that is reset would lose the answer."""
    body = form(bytes(LIMIT + 900_000))
    for _ in range(5):
        with connected(small.port) as connection:
            headers = {**FORM, "Content-Length": str(len(body))}
            connection.send_until_answered([head("POST", TRANSCRIPTIONS, headers), body])
            check_too_large(connection.answer())


def test_file_of_just_the_limit(small: Server) -> None:
    for n_bytes, status in ((LIMIT, 400), (LIMIT + 1, 413)):
        answer = post(small.port, form(bytes(n_bytes)))
        assert answer.status == status
        assert answer.error["param"] == ("file" if status == 400 else None)


def test_refused_uploads_leave_nothing(small: Server) -> None:
    for _ in range(20):
        assert post(small.port, form(bytes(LIMIT + 10))).status == 413
    assert small._app.admission.n_requests <= 1
    assert threading.active_count() < 40


linux = pytest.mark.skipif(not CAN_MEASURE_MEMORY, reason="memory is measured with Linux's /proc")


@linux
@pytest.mark.parametrize("stream", ["false", "true"])
def test_small_file_that_lasts_for_long(small: Server, stream: str) -> None:
    """An hour of Opus in 2.9 MB: its samples would take 230 MB. The benchmark sends 8.7 hours."""
    file = long_opus(3_600)
    assert len(file) < 3_000_000
    transcribe(small.port, long_opus(600))  # fills the queues of windows
    with measured_peak() as peak:
        answer = transcribe(small.port, file, stream=stream)
    assert answer.status == 200
    assert answer.text.count("window") > 60
    assert peak.mb < 100


@linux
def test_silence_that_lasts_for_long(small: Server) -> None:
    """An hour of FLAC in less than 200 kB: its samples would take 230 MB."""
    file = long_silence(3_600)
    assert len(file) < 200_000
    transcribe(small.port, long_silence(60))
    with measured_peak() as peak:
        answer = transcribe(small.port, file)
    assert answer.json["text"] == ""
    assert answer.json["usage"]["seconds"] == 3_600
    assert peak.mb < 100


@linux
def test_uploads_are_not_kept_in_memory(small: Server) -> None:
    body = form(bytes(LIMIT - 1_000))
    post(small.port, body)

    def send_many() -> None:
        for _ in range(5):
            assert post(small.port, body).status == 400

    with measured_peak() as peak:
        threads = [threading.Thread(target=send_many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert peak.mb < 30
