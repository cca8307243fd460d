"""Answers that come before the request's body has been read: the client shall see them."""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.server.upload import OVERHEAD_BYTES

DRAIN_BYTES = 1_000_000
DRAIN_S = 2.0


class UnreadBodies:
    """Closes the connection of a refused upload only after some more of the body has arrived.

    A server that closes a socket with unread data resets the connection, and the client may lose the answer
    that is on its way. So the answer is sent, with `Connection: close`; then up to 1 MB, or 2 seconds, of
    the body is discarded. Of an upload without end no more than `max_bytes` + 1 MB is ever read.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, *, drain_bytes: int = DRAIN_BYTES, drain_s: float = DRAIN_S
    ) -> None:
        self._app, self._max_bytes = app, max_bytes
        self._drain_bytes, self._drain_s = drain_bytes, drain_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)

        async def send_and_drain(message: Message) -> None:
            if body.ended:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._drain(body)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await send(message)

        await self._app(scope, body.receive, send_and_drain)

    async def _drain(self, body: _Body) -> None:
        until = min(body.n_bytes + self._drain_bytes, self._max_bytes + OVERHEAD_BYTES)
        with anyio.move_on_after(self._drain_s):
            while not body.ended and body.n_bytes < until:
                await body.receive()


class _Body:
    """The body of a request, and how much of it was read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.n_bytes = 0
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.n_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.ended = True
        return message


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
