from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.responses import PlainTextResponse

from pipelines.server.http_server import HttpServer
from tests.support.raw_http import connected, get, head


@pytest.fixture
def port() -> Iterator[int]:
    server = HttpServer(PlainTextResponse("hello"))
    port = server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        server.refuse()
        assert server.join(10)


@pytest.mark.parametrize(
    "data", [b"no http\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
def test_bytes_that_are_no_request_get_an_error_of_our_shape(port: int, data: bytes) -> None:
    with connected(port) as connection:
        connection.send(data)
        answer = connection.answer()
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
        assert answer.error["code"] == "invalid_http"
        assert connection.is_closed_by_server()


def test_broken_body_after_the_answer_only_closes_the_connection(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(port) as connection:
        connection.send(head("POST", "/", {"Transfer-Encoding": "chunked"}))
        assert connection.answer().text == "hello"
        connection.send(b"no chunk\r\n")
        assert connection.is_closed_by_server()
    assert get(port, "/").text == "hello"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_accesses_are_not_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    accesses = logging.getLogger("uvicorn.access")
    with closing(logging.StreamHandler()) as handler:
        accesses.addHandler(handler)  # that of another server
        try:
            assert get(port, "/").status == 200
        finally:
            accesses.removeHandler(handler)
    assert [record for record in caplog.records if record.name == accesses.name] == []
