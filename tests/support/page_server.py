"""A server with the page at `/` and scripted answers to it, on a free port of loopback, in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pipelines.server.web_page import web_page

Event = Mapping[str, Any]
WAIT_S = 20.0
SENTENCES = [["And", "so,"], ["my", "fellow", "Americans."]]


@dataclass(frozen=True)
class Upload:
    """A request for a transcript: its path, its headers, its fields and its file."""

    path: str
    key: str | None
    origin: str | None
    fields: list[tuple[str, str]]
    filename: str
    content: bytes


class Gate:
    """Something that an answer waits for, and that a test opens."""

    def __init__(self, *, is_open: bool = False) -> None:
        self._opened = threading.Event()
        if is_open:
            self._opened.set()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        while not self._opened.is_set():
            await asyncio.sleep(0.01)


Step = Event | Gate | bytes
"""An event, bytes as they are, or a wait."""


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error."""

    status: int
    message: str
    headers: Mapping[str, str] | None = None


class PageServer:
    """The server.

    Attributes:
        script: returns the answer to an upload: steps of an event stream, or a refusal.
        uploads: all uploads, in order.
        upload_gate: opened before more than the first piece of an upload is read.
        is_loading: what `/health` says.
        keys: keys that are accepted; any if empty.
        disconnected: set when a client left before its answer was complete.
    """

    url: str

    def __init__(self, script: Callable[[Upload], list[Step] | Refusal]) -> None:
        self.script = script
        self.uploads: list[Upload] = []
        self.upload_gate = Gate(is_open=True)
        self.is_loading = False
        self.keys: set[str] = set()
        self.disconnected = threading.Event()
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"]),
                Route("/v1/audio/translations", self._transcribe, methods=["POST"]),
            ]
        )

    async def _page(self, _: Request) -> Response:
        return Response(web_page().body, headers=dict(web_page().headers))

    async def _health(self, _: Request) -> Response:
        if self.is_loading:
            return JSONResponse({"status": "loading"}, 503)
        return JSONResponse({"status": "ok"})

    async def _models(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return _refuse(Refusal(401, "no models without a key"))
        return JSONResponse({"object": "list", "data": [{"id": "openai/whisper-base", "object": "model"}]})

    def _is_allowed(self, request: Request) -> bool:
        return not self.keys or _key(request) in self.keys

    async def _transcribe(self, request: Request) -> Response:
        try:
            body = [chunk async for chunk in self._body(request)]
        except ClientDisconnect:
            self.disconnected.set()
            return Response(status_code=400)
        if not self._is_allowed(request):
            return _refuse(Refusal(401, "Incorrect API key provided."))
        self.uploads.append(await _parse(request, body))
        answer = self.script(self.uploads[-1])
        if isinstance(answer, Refusal):
            return _refuse(answer)
        return StreamingResponse(self._stream(answer), media_type="text/event-stream")

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk
            await self.upload_gate.wait()

    async def _stream(self, steps: list[Step]) -> AsyncIterator[bytes]:
        is_complete = False
        try:
            for step in steps:
                if isinstance(step, Gate):
                    yield b": keep-alive\n\n"
                    await step.wait()
                else:
                    yield step if isinstance(step, bytes) else encode(step)
            is_complete = True
        finally:
            if not is_complete:
                self.disconnected.set()


async def _parse(request: Request, body: list[bytes]) -> Upload:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in body:
            yield chunk

    form = await MultiPartParser(request.headers, chunks()).parse()
    try:
        file = form["file"]
        assert not isinstance(file, str)
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        key, origin = _key(request), request.headers.get("origin")
        return Upload(request.url.path, key, origin, fields, file.filename or "", await file.read())
    finally:
        await form.close()


def encode(event: Event) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _key(request: Request) -> str | None:
    return request.headers.get("authorization", "").removeprefix("Bearer ") or None


def _refuse(refusal: Refusal) -> Response:
    error = {"message": refusal.message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, refusal.status, dict(refusal.headers or {}))


@contextmanager
def page_server(script: Callable[[Upload], list[Step] | Refusal]) -> Iterator[PageServer]:
    server = PageServer(script)
    config = uvicorn.Config(
        server.app, port=0, ws="none", lifespan="off", log_level="warning", timeout_graceful_shutdown=1
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            thread.join(0.01)
        server.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/"
        yield server
    finally:
        server.upload_gate.open()
        running.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


def talk(segments: list[list[str]], *, language: str = "english", words: bool = True) -> list[Step]:
    """Returns the events of a recording with one word a second, as the server sends them."""
    events: list[Step] = []
    sent: list[dict[str, Any]] = []
    timed: list[dict[str, Any]] = []
    for texts in segments:
        start = sent[-1]["end"] if sent else 0.0
        text = " ".join(texts)
        sent.append({"id": len(sent), "start": start, "end": start + len(texts), "text": f" {text}"})
        timed += [{"word": one, "start": start + n, "end": start + n + 0.9} for n, one in enumerate(texts)]
        events.append({"type": "transcript.text.delta", "delta": text if len(sent) == 1 else f" {text}"})
        events.append(
            {"type": "transcript.text.segment", **sent[-1], "id": str(len(sent) - 1), "speaker": ""}
        )
    done = {
        "type": "transcript.text.done",
        "text": " ".join(word for texts in segments for word in texts),
        "language": language,
        "duration": float(len(timed)),
        "usage": {"type": "tokens", "seconds": len(timed)},
        "segments": sent,
        "srt": "1\n00:00:00,000 --> 00:00:03,000\nfirst\n",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:03.000\nfirst\n",
    }
    return [*events, done | ({"words": timed} if words else {}), b"data: [DONE]\n\n"]
