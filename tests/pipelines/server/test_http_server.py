from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Receive, Scope, Send

from pipelines.server.http_server import HttpServer
from tests.support.raw_http import connected, get, head, wait_until

WAIT_S = 30.0  # for ends that come at once, or never

START = {"type": "http.response.start", "status": 200, "headers": []}


class App:
    """Answers when it may, with `n_bytes`."""

    def __init__(self, n_bytes: int = 2) -> None:
        self.n_bytes, self.n_inside, self.n_ended = n_bytes, 0, 0
        self.may_answer = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.n_inside += 1
        try:
            while not self.may_answer.is_set():
                await asyncio.sleep(0.005)
            await send(START)
            for more_body in (True, True, False):
                await send(
                    {"type": "http.response.body", "body": b"a" * self.n_bytes, "more_body": more_body}
                )
        finally:
            self.n_ended += 1


@contextmanager
def served(app: App) -> Iterator[tuple[HttpServer, int]]:
    server = HttpServer(app)
    port = server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        app.may_answer.set()
        server.refuse()
        server.abort()
        assert server.join(WAIT_S)


def test_answers_what_is_running_and_refuses_what_is_new() -> None:
    app = App()
    with served(app) as (server, port), connected(port) as running, connected(port) as idle:
        running.send(head("GET", "/"))
        wait_until(lambda: app.n_inside == 1)
        server.refuse()
        assert idle.is_closed_by_server()
        with pytest.raises(OSError, match="refused"):
            get(port, "/")
        assert not server.join(0.3)
        assert server.is_running
        app.may_answer.set()
        assert running.answer().text == "aaaaaa"
        assert server.join(WAIT_S)
        assert not server.is_running


def test_client_that_does_not_read_its_answer_is_cut_off() -> None:
    app = App(n_bytes=20_000_000)
    app.may_answer.set()
    with served(app) as (server, port), connected(port) as connection:
        connection.send(head("GET", "/"))
        wait_until(lambda: app.n_inside == 1)
        server.refuse()
        assert not server.join(0.5)
        assert app.n_ended == 0
        server.abort()
        assert server.join(WAIT_S)
        assert app.n_ended == 1


def test_address_that_cannot_be_listened_on_is_named() -> None:
    before = threading.enumerate()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1, port {port}: .*in use"):
            HttpServer(App()).start("127.0.0.1", port)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(OSError, match=f"cannot listen on {host}, port 0: "):
            HttpServer(App()).start(host, 0)
    assert threading.enumerate() == before


def test_may_be_started_again_only_after_a_failure() -> None:
    app = App()
    server = HttpServer(app)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        server.start("127.0.0.1", other.getsockname()[1])
    server.start("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="started before"):
        server.start("127.0.0.1", 0)
    server.refuse()
    assert server.join(WAIT_S)


def test_ends_at_once_where_it_was_never_started() -> None:
    server = HttpServer(App())
    server.refuse()
    server.abort()
    server.call(lambda: pytest.fail("there is no loop"))
    assert server.join()


def test_calls_after_the_end_are_dropped() -> None:
    with served(App()) as (server, _):
        server.refuse()
        assert server.join(WAIT_S)
        server.call(lambda: pytest.fail("the loop is closed"))


def test_functions_are_called_on_the_loop() -> None:
    called = threading.Event()
    names = []

    def note() -> None:
        names.append(threading.current_thread().name)
        called.set()

    with served(App()) as (server, port):
        wait_until(lambda: server._loop is not None)
        server.call(note)
        assert called.wait(WAIT_S)
        assert port > 0
    assert names == ["server"]


def test_loggers_of_uvicorn_stay_as_they_are() -> None:
    def states() -> list[tuple[int, list[logging.Handler], bool]]:
        loggers = map(logging.getLogger, ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"))
        return [(one.level, list(one.handlers), one.propagate) for one in loggers]

    accesses = logging.getLogger("uvicorn.access")
    handler = logging.NullHandler()
    accesses.addHandler(handler)  # that of another server
    try:
        before = states()
        with served(App()):
            assert states() == before
        assert handler in accesses.handlers
    finally:
        accesses.removeHandler(handler)


def test_address_of_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("there is no IPv6")
    app = App()
    app.may_answer.set()
    server = HttpServer(app)
    port = server.start("::1", 0)
    with socket.create_connection(("::1", port)) as connection:
        connection.sendall(head("GET", "/", {"Connection": "close"}))
        assert b"".join(iter(lambda: connection.recv(4096), b"")).startswith(b"HTTP/1.1 200 OK")
    server.refuse()
    assert server.join(WAIT_S)
