"""Streams over a socket, of a model that takes its time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from statistics import median
from time import monotonic
from typing import Any

import openai
import pytest

from pipelines.server.events import event_stream
from pipelines.server.server import Server
from tests.support import tone_backend
from tests.support.asgi import FORM
from tests.support.openai_answers import parse_event, split_events
from tests.support.raw_http import TRANSCRIPTIONS, Connection, connected, form, get, head, wait_until
from tests.support.server_backends import Gate, held_backend, talk, text_of

KEEP_ALIVE_S = 0.1
LONG_S = 200
BODY = form(talk(LONG_S), [("stream", "true"), ("language", "en")])


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def held(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose model waits for the gate, window by window."""
    assert event_stream.__kwdefaults__ is not None
    monkeypatch.setitem(event_stream.__kwdefaults__, "keep_alive_s", KEEP_ALIVE_S)
    options: dict[str, Any] = {"model": "m", "port": 0, "batch_size": 1, "windows": "grid"}
    with Server(backend=held_backend(gate), **options) as server, closing(gate):
        yield server


def begin(connection: Connection, body: bytes = BODY) -> None:
    headers = {**FORM, "Content-Length": str(len(body)), "Connection": "close"}
    connection.send(head("POST", TRANSCRIPTIONS, headers), body)


class Chunks:
    """The chunks of an answer, as they come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += connection.read(1)

    def __iter__(self) -> Iterator[bytes]:
        while block := self._block():
            yield block

    def _block(self) -> bytes:
        size = b""
        while not size.endswith(b"\r\n"):
            size += self._connection.read(1)
        return self._connection.read(int(size, 16) + 2)[:-2]


def test_comment_while_it_is_quiet(held: Server, gate: Gate) -> None:
    with connected(held.port) as connection:
        begin(connection)
        assert gate.waiting.acquire(timeout=20)
        chunks = Chunks(connection)
        assert b" 200 OK" in chunks.head
        assert b"text/event-stream" in chunks.head
        times = [monotonic()]
        blocks = iter(chunks)
        for _ in range(10):
            assert next(blocks) == b": keep-alive\n\n"
            times.append(monotonic())
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert median(pauses) < 10 * KEEP_ALIVE_S
        assert sum(pauses) > 5 * KEEP_ALIVE_S
        gate.open()
        events = split_events(b"".join(blocks))
    assert events[-1] == "[DONE]"
    parsed: list[Any] = [parse_event(event) for event in events[:-1]]
    assert parsed[-1].text == text_of(LONG_S)


def test_segments_come_before_the_end(held: Server, gate: Gate) -> None:
    """With a language they are final as soon as their window, and the next one, has been decoded."""
    with connected(held.port) as connection:
        begin(connection)
        gate.let_pass(3)
        deltas = first_deltas(Chunks(connection), 10)
        assert deltas[0].delta == "en0"
        assert [one.delta for one in deltas[1:]] == [f" en{second}" for second in range(1, 10)]
        assert get(held.port, "/health").json == {"status": "ok"}


def first_deltas(chunks: Chunks, n: int) -> list[Any]:
    found: list[Any] = []
    for block in chunks:
        found += [parse_event(event) for event in split_events(block)]
        if len(found) >= n:
            return found[:n]
    raise AssertionError(found)


def test_official_client_skips_the_comments(held: Server, gate: Gate) -> None:
    with (
        openai.OpenAI(api_key="none", base_url=f"{held.url}/v1", max_retries=0) as client,
        client.audio.transcriptions.create(file=talk(3), model="whisper-1", stream=True) as stream,
    ):
        gate.open()
        assert [event.type for event in stream] == [*["transcript.text.delta"] * 3, "transcript.text.done"]


@pytest.mark.parametrize("stream", ["true", "false"])
def test_client_that_leaves_is_not_served(held: Server, gate: Gate, stream: str) -> None:
    """What runs in the model ends; no further window of the recording is decoded."""
    with connected(held.port) as connection:
        begin(connection, form(talk(LONG_S), [("stream", stream), ("language", "en")]))
        assert gate.waiting.acquire(timeout=20)
    gate.let_pass()
    wait_until(lambda: held._app.admission.n_requests == 0)
    gate.open()
    assert get(held.port, "/health").status == 200
    assert len(tone_backend.REQUESTS) <= 2


def test_clients_that_leave_make_room(held: Server, gate: Gate) -> None:
    for _ in range(100):
        with connected(held.port) as connection:
            begin(connection)
    gate.open()
    wait_until(lambda: held._app.admission.n_requests == 0, 20)
    assert len(tone_backend.REQUESTS) < 100
