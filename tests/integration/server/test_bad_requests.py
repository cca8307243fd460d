"""Bad requests over a socket: each gets a 4xx in OpenAI's shape, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from socket import SHUT_WR

import pytest

from pipelines.server.server import Server
from pipelines.server.upload import UploadReader
from tests.support.asgi import BOUNDARY, FORM, audio_part, form_body
from tests.support.bad_forms import REFUSED_BODIES, REFUSED_FIELDS, REFUSED_HEADERS
from tests.support.raw_http import (
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Answer,
    Connection,
    chunk,
    connected,
    form,
    get,
    head,
    post,
    send,
    transcribe,
    wait_until,
)
from tests.support.server_backends import WORDS, talk, text_of

TALK = talk(2)
GOOD_FORM = form(TALK)


@pytest.fixture(autouse=True)
def _goes_on(server: Server) -> Iterator[None]:
    """The next client is answered, and no request stays inside."""
    yield
    assert transcribe(server.port, TALK).json["text"] == text_of(2)
    wait_until(lambda: server._app.admission.n_requests == 0)


def check_refused(answer: Answer, message: str, param: str | None) -> None:
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert message in answer.error["message"]
    assert answer.error["param"] == param


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize(("body", "message", "param"), REFUSED_BODIES.values(), ids=list(REFUSED_BODIES))
def test_bodies(server: Server, path: str, body: bytes, message: str, param: str | None) -> None:
    check_refused(post(server.port, body, path=path), message, param)


@pytest.mark.parametrize(
    ("fields", "param"), [case[1:] for case in REFUSED_FIELDS], ids=[case[0] for case in REFUSED_FIELDS]
)
def test_fields(server: Server, fields: list[tuple[str, str]], param: str) -> None:
    answer = post(server.port, form(TALK, fields))
    check_refused(answer, param, param)


@pytest.mark.parametrize(("headers", "message"), REFUSED_HEADERS.values(), ids=list(REFUSED_HEADERS))
def test_headers(server: Server, headers: dict[str, str], message: str) -> None:
    headers = {name.title(): value for name, value in headers.items()}
    merged = {"Content-Type": FORM["content-type"], "Content-Length": str(len(GOOD_FORM)), **headers}
    answer = send(server.port, "POST", TRANSCRIPTIONS, merged, GOOD_FORM)
    if "Content-Length" in headers:  # is no request at all, and never reaches the application
        message = "Invalid HTTP request"
    check_refused(answer, message, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
        {"response_format": "diarized_json"},
    ],
    ids=str,
)
def test_fields_of_translations(server: Server, fields: dict[str, str]) -> None:
    assert transcribe(server.port, TALK, path=TRANSLATIONS, **fields).error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_methods(server: Server, method: str, path: str) -> None:
    answer = send(server.port, method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.error["code"] == "method_not_supported"


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/audio/transcriptions/",
        "/v1//audio/transcriptions",
        "/V1/audio/transcriptions",
        "/v1/audio/speech",
        "/v1/models/no/such",
        "/v1/models/",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/%00",
        "/v1/models/%ff%fe",
        "/page/index.html",
        "/" + "a" * 8000,
    ],
    ids=lambda path: path[:40],
)
def test_paths(server: Server, path: str) -> None:
    answer = get(server.port, path)
    assert answer.status == 404
    assert answer.error["code"] in ("unknown_url", "model_not_found")
    assert len(answer.body) < 1000


GARBAGE = {
    "no_http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "zeros": bytes(1000),
    "no_host": b"GET /health HTTP/1.1\r\n\r\n",
    "two_hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "space_in_header": b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "null_in_header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
    "two_lengths": b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "chunk_size": b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "other_encoding": b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=list(GARBAGE))
def test_what_is_not_http(server: Server, data: bytes) -> None:
    with connected(server.port) as connection:
        connection.send_until_answered([data])
        answer = connection.answer()
    assert answer.status in (400, 501)
    assert answer.error["type"] == "invalid_request_error"


def test_endless_headers(server: Server) -> None:
    with connected(server.port) as connection:
        connection.send_until_answered([head("GET", "/health")[:-2], b"A: ", *[b"a" * 1000] * 1000])
        with suppress(ConnectionResetError):  # it is closed with more to be read
            assert connection.answer().error["code"] == "invalid_http"


def part_of_a_form(connection: Connection) -> None:
    connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(GOOD_FORM))}))
    connection.send(GOOD_FORM[: len(GOOD_FORM) // 2])


def test_client_that_stops_sending(server: Server) -> None:
    with connected(server.port) as connection:
        part_of_a_form(connection)
        connection.socket.shutdown(SHUT_WR)
        assert connection.is_closed_by_server()


def test_client_that_is_gone(server: Server) -> None:
    with connected(server.port) as connection:
        part_of_a_form(connection)


def test_length_below_that_of_the_body(server: Server) -> None:
    with connected(server.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(GOOD_FORM) - 30)}))
        connection.send_until_answered([GOOD_FORM])
        check_refused(connection.answer(), "ends before the closing boundary", None)
        connection.socket.shutdown(SHUT_WR)  # the rest is no request
        assert connection.is_closed_by_server()


def test_chunks_that_end_too_early(server: Server) -> None:
    with connected(server.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Transfer-Encoding": "chunked"}))
        connection.send(chunk(GOOD_FORM[:-10]), chunk(b""))
        check_refused(connection.answer(), "ends before the closing boundary", None)


def test_chunks_of_any_size(server: Server) -> None:
    with connected(server.port) as connection:
        connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Transfer-Encoding": "chunked"}))
        start = 0
        for size in (1, 2, 3, 50, 1000, 65_536):
            connection.send(chunk(GOOD_FORM[start : start + size]))
            start += size
        connection.send(*([chunk(GOOD_FORM[start:])] if start < len(GOOD_FORM) else []), chunk(b""))
        assert connection.answer().json["text"] == text_of(2)


def test_body_that_stops_arriving(monkeypatch: pytest.MonkeyPatch) -> None:
    assert UploadReader.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(UploadReader.__init__.__kwdefaults__, "stall_s", 0.2)
    with Server(backend=WORDS, model="m", port=0) as server, connected(server.port) as connection:
        part_of_a_form(connection)
        answer = connection.answer()
        assert answer.status == 408
        assert answer.error["code"] == "upload_stalled"
        assert connection.is_closed_by_server()


def test_requests_over_one_connection(server: Server) -> None:
    """A refused request does not spoil the next one of the connection."""
    with connected(server.port) as connection:
        for body, status in [
            (form(b"<html>"), 400),
            (GOOD_FORM, 200),
            (form(TALK, [("stream", "?")]), 400),
        ] * 2:
            connection.send(head("POST", TRANSCRIPTIONS, {**FORM, "Content-Length": str(len(body))}), body)
            assert connection.answer().status == status
        connection.send(head("GET", "/health"))
        assert connection.answer("GET").json == {"status": "ok"}


def test_body_beside_a_get(server: Server) -> None:
    assert send(server.port, "GET", "/health", body=b"x" * 1000).status == 200


def test_part_with_a_long_filename(server: Server) -> None:
    body = form_body(audio_part(TALK, "a" * 3000 + ".wav"))
    assert post(server.port, body).json["text"] == text_of(2)
    assert BOUNDARY.encode() in body


def test_files_that_look_like_a_boundary(server: Server) -> None:
    file = TALK + b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--\r\n" + bytes(100)
    assert transcribe(server.port, file).status == 200
