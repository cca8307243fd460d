"""Requests to ASGI applications without a network, and the bodies of forms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Scope

BOUNDARY = "7f3a2c"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass
class Body:
    """The body of a request, which arrives in blocks.

    Attributes:
        blocks: what is left of it.
        ends: whether it ends after them; otherwise the client is gone.
        stalls: whether nothing comes after them.
        n_bytes: bytes that were read.
        is_stalled: set once all blocks were read, and nothing comes.
    """

    blocks: list[bytes]
    ends: bool = True
    stalls: bool = False
    n_bytes: int = 0
    is_stalled: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self) -> Message:
        if self.blocks:
            block = self.blocks.pop(0)
            self.n_bytes += len(block)
            more_body = bool(self.blocks) or not self.ends or self.stalls
            return {"type": "http.request", "body": block, "more_body": more_body}
        if self.stalls:
            self.is_stalled.set()
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}


@dataclass
class Answer:
    """The messages of an answer."""

    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def error(self) -> dict[str, Any]:
        answer = json.loads(self.body)
        assert list(answer) == ["error"]
        assert list(answer["error"]) == ["message", "type", "param", "code"]
        error: dict[str, Any] = answer["error"]
        return error


def http_scope(
    method: str = "GET", path: str = "/", headers: Headers = (), client: tuple[str, int] | None = None
) -> Scope:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": raw,
        "client": client,
    }


def call(app: ASGIApp, scope: Scope, body: Body | None = None) -> Answer:
    answer = Answer()
    anyio.run(app, scope, (body or Body([b""])).receive, answer.send)
    return answer


def part(
    name: str | None,
    content: bytes | str,
    filename: str | None = None,
    headers: Iterable[str] = (),
    kind: str = "form-data",
) -> bytes:
    """A part of a form, with the boundary before it."""
    disposition = f"Content-Disposition: {kind}"
    if name is not None:
        disposition += f'; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    lines = [f"--{BOUNDARY}", disposition, *headers, "", ""]
    return "\r\n".join(lines).encode() + (content.encode() if isinstance(content, str) else content) + b"\r\n"


def form_body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def audio_part(content: bytes = b"RIFF0000WAVE", filename: str | None = "talk.wav") -> bytes:
    return part("file", content, filename, ["Content-Type: application/octet-stream"])
