from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from pipelines.server.errors import unauthorized
from pipelines.server.security import DEFAULT_HEADERS, HostCheck, OriginCheck, RequestIds
from tests.support.asgi import Answer, call, http_scope

HOST = ("host", "localhost:8000")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(scope.get("state", {}), headers={"Cache-Control": "no-cache"})(scope, receive, send)


def by_host(*hosts: str, bound: str = "127.0.0.1", allowed: Sequence[str] = ()) -> Answer:
    return call(HostCheck(app, bound, allowed), http_scope(headers=[("host", host) for host in hosts]))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:8000",
            "LOCALHOST:8000",
            "localhost.",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
        ),
        *("whisper.lan:8000", "a.example.org", "a.b.EXAMPLE.org:443", "[fe80::1]:8000"),
    ],
)
def test_own_and_configured_hosts_are_allowed(host: str) -> None:
    allowed = ["whisper.lan", "*.example.org", "fe80::1"]
    assert by_host(host, allowed=allowed).status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        *([], [""], ["evil.example"], ["localhost.evil.example"], ["evil.example:8000"], ["example.org"]),
        *(["notexample.org"], ["localhost:8000:1"], ["user@localhost"], ["localhost/"], ["localhost:x"]),
        *(
            ["localhost", "evil.example"],
            ["192.168.1.5:8000"],
            ["[::2]"],
            ["local host"],
            ["0.0.0.0"],
            [":80"],
        ),
    ],
    ids=str,
)
def test_foreign_hosts_are_a_400(hosts: list[str]) -> None:
    answer = by_host(*hosts, allowed=["*.example.org"])
    assert answer.status == 400
    assert answer.error["code"] == "host_not_allowed"
    assert "--allowed_hosts" in answer.error["message"]


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_server_on_all_addresses_answers_to_any_address_but_not_to_any_name(bound: str) -> None:
    for host in ("192.168.1.5:8000", "[2001:db8::5]:8000", "localhost"):
        assert by_host(host, bound=bound).status == 200
    assert by_host("evil.example", bound=bound).status == 400
    assert by_host("192.168.1.5.evil.example", bound=bound).status == 400


def test_bound_host_and_star() -> None:
    assert by_host("192.168.1.5:8000", bound="192.168.1.5").status == 200
    assert by_host("evil.example", allowed=["*"]).status == 200
    assert by_host(allowed=["*"]).status == 200


def by_origin(
    origin: str | None,
    *allowed: str,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    host: tuple[str, str] = HOST,
) -> Answer:
    origins = [] if origin is None else [("origin", origin)]
    return call(OriginCheck(app, allowed), http_scope(method, headers=[host, *origins, *headers]))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "localhost:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://LOCALHOST:8000", "localhost:8000"),
        ("https://example.org", "example.org"),
        ("https://example.org", "example.org:443"),
        ("http://example.org", "example.org"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_own_origin_is_allowed_without_cors_headers(origin: str | None, host: str) -> None:
    answer = by_origin(origin, host=("host", host))
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        *(
            "null",
            "",
            "http://evil.example",
            "http://localhost:3000",
            "https://localhost",
            "http://127.0.0.1:8000",
        ),
        *(
            "http://localhost:8000.evil.example",
            "file://",
            "http://a@localhost:8000",
            "http://good.example.evil",
        ),
    ],
)
def test_foreign_origins_are_a_403(origin: str, method: str) -> None:
    answer = by_origin(origin, "http://good.example", method=method)
    assert answer.status == 403
    assert answer.error["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in answer.headers


def test_two_origins_are_a_403() -> None:
    assert by_origin("http://localhost:8000", headers=[("origin", "http://evil.example")]).status == 403


def test_configured_origin_may_read_answers() -> None:
    answer = by_origin("https://good.example", "https://Good.example/")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-problem", "x-ignored-fields"} <= set(exposed)
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    assert by_origin("null", "*").headers["access-control-allow-origin"] == "null"


def test_configured_origin_may_read_errors() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await unauthorized(missing=True).response()(scope, receive, send)

    headers = [HOST, ("origin", "https://good.example")]
    answer = call(OriginCheck(refuse, ["https://good.example"]), http_scope("POST", headers=headers))
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == "https://good.example"


def test_preflight_is_answered_without_the_application() -> None:
    wanted = "authorization,content-type,x-stainless-lang"
    headers = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", wanted),
        ("access-control-request-private-network", "true"),
    ]
    answer = by_origin("https://good.example", "https://good.example", method="OPTIONS", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-headers"] == wanted
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert (
        by_origin("https://evil.example", "https://good.example", method="OPTIONS", headers=headers).status
        == 403
    )
    headers[1] = ("access-control-request-headers", "a\tb:c")
    answer = by_origin("https://good.example", "https://good.example", method="OPTIONS", headers=headers)
    assert "access-control-allow-headers" not in answer.headers


def test_options_that_is_no_preflight_is_for_the_application() -> None:
    assert by_origin("https://good.example", "https://good.example", method="OPTIONS").status == 200


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 200, False), ("a,b", False), ("", False)]
)
def test_answers_have_an_id(given: str, kept: bool) -> None:
    answer = call(RequestIds(app), http_scope(headers={"x-request-id": given}))
    request_id = answer.headers["x-request-id"]
    assert (request_id == given) is kept
    assert re.fullmatch(r"[\w.-]+", request_id)
    assert f'"request_id":"{request_id}"'.encode() in answer.body


def test_answers_without_an_id_of_the_client_differ() -> None:
    ids = {call(RequestIds(app), http_scope()).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_answers_have_the_headers_that_they_do_not_set() -> None:
    headers = call(RequestIds(app), http_scope()).headers
    assert headers["cache-control"] == "no-cache"
    for name, value in DEFAULT_HEADERS.items():
        assert headers[name.lower()] == value or name == "Cache-Control"
    assert call(RequestIds(Response()), http_scope()).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("middleware", [RequestIds(app), HostCheck(app, ""), OriginCheck(app)])
def test_lifespan_is_passed_on(middleware: RequestIds | HostCheck | OriginCheck) -> None:
    reached = []

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    middleware._app = lifespan
    call(middleware, {"type": "lifespan"})
    assert reached == ["lifespan"]
