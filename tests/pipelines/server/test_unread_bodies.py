from __future__ import annotations

from time import monotonic

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pipelines.server.errors import unauthorized
from pipelines.server.unread_bodies import UnreadBodies
from tests.support.asgi import Body, call, http_scope

CHUNKED = {"transfer-encoding": "chunked"}
BLOCK = b"x" * (64 << 10)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await unauthorized(missing=True).response()(scope, receive, send)


async def refuse_after_two_blocks(scope: Scope, receive: Receive, send: Send) -> None:
    for _ in range(2):
        await receive()
    await refuse(scope, receive, send)


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await JSONResponse({})(scope, receive, send)


def test_rest_of_a_refused_body_is_discarded_after_the_answer() -> None:
    body = Body([BLOCK] * 5)
    answer = call(UnreadBodies(refuse, 10 << 20), http_scope("POST", headers=CHUNKED), body)
    assert answer.status == 401
    assert answer.headers["connection"] == "close"
    assert answer.error["code"] == "invalid_api_key"
    assert body.blocks == []
    assert [message.get("more_body") for message in answer.messages] == [None, True, False]


@pytest.mark.parametrize(("max_bytes", "n_bytes"), [(100 << 20, 1_000_000), (0, 512 << 10)])
def test_no_more_than_a_megabyte_and_the_limit_is_read(max_bytes: int, n_bytes: int) -> None:
    body = Body([BLOCK] * 1000)
    answer = call(UnreadBodies(refuse, max_bytes), http_scope("POST", headers=CHUNKED), body)
    assert answer.error
    assert n_bytes <= body.n_bytes < n_bytes + len(BLOCK)


def test_limit_counts_what_the_application_has_read() -> None:
    body = Body([b"x" * 300_000] * 1000)
    call(UnreadBodies(refuse_after_two_blocks, 0), http_scope("POST", headers=CHUNKED), body)
    assert body.n_bytes == 600_000


def test_client_that_sends_nothing_is_not_waited_for() -> None:
    started = monotonic()
    body = Body([BLOCK], stalls=True)
    app = UnreadBodies(refuse, 10 << 20, drain_s=0.1)
    answer = call(app, http_scope("POST", headers={"content-length": "1000000"}), body)
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert monotonic() - started < 20


def test_client_that_is_gone_ends_it() -> None:
    assert call(UnreadBodies(refuse, 1), http_scope("POST", headers=CHUNKED), Body([BLOCK], ends=False)).error


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}, CHUNKED])
def test_connection_stays_open_where_nothing_is_unread(headers: dict[str, str]) -> None:
    answer = call(UnreadBodies(read_all, 1), http_scope("POST", headers=headers), Body([b"x", b"y"]))
    assert "connection" not in answer.headers
    assert [message.get("more_body", False) for message in answer.messages] == [False, False]
