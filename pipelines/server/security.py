"""Guards of the server against pages of other sites: the headers Host and Origin, and headers of answers.

A page anywhere may send a form to a server on the reader's own computer, and a name of its own may lead to
that address (DNS rebinding). So a foreign Host is a 400, and a foreign Origin a 403. All guards are plain
ASGI middlewares, which leave bodies and disconnects to the application. Their order, outermost first:
`RequestIds`, `UnreadBodies`, `HostCheck`, `OriginCheck` (preflights have no key), `KeyCheck`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.server.errors import forbidden, invalid_request, quoted

ANY = "*"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
WILDCARD_HOSTS = ("0.0.0.0", "::", "")
REQUEST_ID = "x-request-id"
EXPOSED = f"{REQUEST_ID}, x-ignored-fields, x-problem, retry-after"
DEFAULT_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of each answer that does not set them itself."""

PREFLIGHT_S = 600

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<name>[^\s:/@\[\]?#\\]+))(?::(?P<port>[0-9]{0,5}))?"
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TOKENS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1024}")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@\s]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class RequestIds:
    """Gives each answer the header x-request-id, the client's own or a new one, and `DEFAULT_HEADERS`.

    The id is also in `scope["state"]["request_id"]`, for logs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in DEFAULT_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HostCheck:
    """Refuses requests to a host name that is not the server's, with 400.

    Allowed are the loopback names, the host that the server listens on, and those configured: `*.example.org`
    stands for all names below, `*` for any. A server that listens on all addresses can be called by any of
    them, so any IP address is allowed then: DNS rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, host: str, allowed: Iterable[str] = ()) -> None:
        """Creates the middleware.

        Args:
            app: the application.
            host: name or address that the server listens on.
            allowed: further host names, without ports.
        """
        self._app = app
        names = {_plain_host(name) for name in (*LOCAL_HOSTS, host, *allowed)}
        self._any = ANY in names
        self._any_address = host in WILDCARD_HOSTS
        self._names = frozenset(names - {""})
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, if the host is allowed."""
        if scope["type"] == "http" and not self._any:
            given = Headers(scope=scope).getlist("host")
            if len(given) != 1 or not self._is_allowed(given[0]):
                shown = quoted(", ".join(given))
                message = f"Host {shown} is not allowed: this server does not answer to it (--allowed_hosts)."
                error = invalid_request(message, code="host_not_allowed")
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, header: str) -> bool:
        match = _HOST.fullmatch(header.strip())
        if match is None:
            return False
        name = _plain_host(match["address"] or match["name"])
        if name in self._names or name.endswith(self._suffixes):
            return True
        return self._any_address and _is_address(name)


class OriginCheck:
    """Refuses requests of other sites' pages with 403; those of configured origins may read answers (CORS).

    An origin is the server's own if its host and port are those of the header Host, which `HostCheck` has
    checked. Without configured origins there are no CORS headers. Cookies are never allowed.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str] = ()) -> None:
        """Creates the middleware.

        Args:
            app: the application.
            allowed: origins such as `https://example.org`, or `*` for any.
        """
        self._app = app
        self._allowed = frozenset(_plain_origin(origin) for origin in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, if there is no origin or an allowed one."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or "origin" not in headers:
            await self._app(scope, receive, send)
            return
        origins = headers.getlist("origin")
        origin = origins[0] if len(origins) == 1 else ", ".join(origins)
        if ANY in self._allowed or _plain_origin(origin) in self._allowed:
            await self._answer_allowed(origin, scope, receive, send)
        elif _is_same_host(origin, headers.get("host", "")):
            await self._app(scope, receive, send)
        else:
            message = f"Origin {quoted(origin)} is not allowed: it is another site (--allowed_origins)."
            await forbidden(message, "origin_not_allowed").response()(scope, receive, send)

    async def _answer_allowed(self, origin: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = EXPOSED
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                headers.add_vary_header("Origin")
            await send(message)

        request = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in request:
            await _preflight(request)(scope, receive, send_with_cors)
        else:
            await self._app(scope, receive, send_with_cors)


def _preflight(request: Headers) -> Response:
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    wanted = request.get("access-control-request-headers", "")
    if _TOKENS.fullmatch(wanted):  # clients send many: authorization, x-stainless-lang, ...
        headers["Access-Control-Allow-Headers"] = wanted
    if request.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return Response(status_code=204, headers=headers)


def _plain_host(name: str) -> str:
    return name.strip().lower().strip("[]").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain_origin(origin: str) -> str:
    return origin.strip().lower().removesuffix("/")


def _is_same_host(origin: str, host: str) -> bool:
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return False
    scheme = match["scheme"].lower()
    return _with_port(match["host"], scheme) == _with_port(host, scheme)


def _with_port(host: str, scheme: str) -> tuple[str, str] | None:
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    return _plain_host(match["address"] or match["name"]), match["port"] or _DEFAULT_PORTS[scheme]
