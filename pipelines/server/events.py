"""Server-Sent Events of a transcription: OpenAI's events, while segments become final.

    data: {"type": "transcript.text.delta", "delta": "And so my fellow Americans,"}
    data: {"type": "transcript.text.done", "text": "And so my fellow Americans, ...", "usage": {...}}
    data: [DONE]

The deltas, joined, are the `text` of `transcript.text.done`, unless segments that were sent early are not the
first ones of the transcript, as when the vote on the language is overruled; then the `text` counts, and a
client replaces what it has shown by it.

With verbose_json each delta is followed by `transcript.text.segment` (times, text and, if wanted, words; its
`speaker` is empty, as there are none, but clients require it), and `done` has `language`, `duration`,
`segments`, `words`, `srt` and `vtt`. The usage of `done` is counted in tokens, as clients parse no other
here; `seconds` is added. One input token is 20 ms of audio, a position of the encoder.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from pipelines.server.formats import (
    Json,
    Row,
    TokenIds,
    encode_json,
    language_name,
    problem_of,
    timed_parts,
    usage,
    wants_words,
    words_of,
)
from pipelines.server.request import SRT, VERBOSE_JSON, VTT, TranscriptionRequest
from transforms.core.types import Failure
from transforms.writing.subtitles import RENDERERS

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS: Mapping[str, str] = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of the answer, so that no proxy holds events back."""
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE_S = 15.0
_TOKENS_PER_S = 50  # positions of the encoder


class Finished(Protocol):
    """The result of a transcription, as `pipelines.inference.Result` has it."""

    @property
    def row(self) -> Row:
        """The row of the recording."""

    @property
    def failures(self) -> Sequence[Failure]:
        """Failures that left it a row."""


async def event_stream(
    segments: AsyncIterator[Row],
    result: Callable[[], Awaitable[Finished]],
    request: TranscriptionRequest,
    token_ids: TokenIds,
    to_error: Callable[[Exception], Json],
    *,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> AsyncGenerator[bytes, None]:
    """Yields the events of a transcription, encoded. When it is closed, it closes the segments.

    Args:
        segments: segments of the row, as they become final.
        result: returns the result; called once the segments have ended.
        request: the request.
        token_ids: see `TokenIds`.
        to_error: returns the body of an error, `{"error": {...}}`.
        keep_alive_s: seconds without an event after which a comment is sent.

    Raises:
        Exception: raised by `segments` or `result`, if nothing was yielded before; afterwards an error is an
            event, and the last one. `begin` waits for the first event, so that the error has its status.
    """
    chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
    writer = _EventWriter(request, token_ids)
    # A task of its own closes the source even where each wait of this one is cancelled at once.
    source = asyncio.create_task(_read(segments, result, writer, chunks))
    has_begun = False
    try:
        while True:
            try:
                async with asyncio.timeout(keep_alive_s):  # `wait_for` of Python 3.11 loses cancellations
                    chunk = await chunks.get()
            except TimeoutError:
                chunk = KEEP_ALIVE
            if chunk is None:
                return
            if isinstance(chunk, Exception):
                if not has_begun:
                    raise chunk
                chunk = encode_event(to_error(chunk))
            has_begun = True
            yield chunk
    finally:
        source.cancel()
        await asyncio.wait([source])


async def begin(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Waits for the first chunk of a stream, a comment at the latest, and returns the whole stream.

    Raises:
        Exception: raised by the stream before its first chunk.
    """
    first = await anext(stream)

    async def chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(stream):
            yield first
            async for chunk in stream:
                yield chunk

    return chunks()


def encode_event(event: Json) -> bytes:
    """Returns an event with its data on one line."""
    return b"data: " + encode_json(event) + b"\n\n"


async def _read(
    segments: AsyncIterator[Row],
    result: Callable[[], Awaitable[Finished]],
    writer: _EventWriter,
    chunks: asyncio.Queue[bytes | Exception | None],
) -> None:
    """Puts the events, or an exception, and None into a queue; closes the segments."""
    try:
        async for segment in segments:
            if events := writer.segment(segment):
                chunks.put_nowait(events)
        # Of ten hours it takes a second, for which the event loop must not wait.
        chunks.put_nowait(await asyncio.to_thread(writer.done, await result()))
    except Exception as error:  # of any type: the client gets it, as an error or as the last event
        chunks.put_nowait(error)
    finally:
        chunks.put_nowait(None)
        if isinstance(segments, AsyncGenerator):
            await segments.aclose()


class _EventWriter:
    """Encodes the segments and the result of one transcription as events."""

    def __init__(self, request: TranscriptionRequest, token_ids: TokenIds) -> None:
        self._request, self._token_ids = request, token_ids
        self._sent: list[str] = []
        self._held = ""  # space at the end of a segment, which the text has only if a segment follows

    def segment(self, segment: Row) -> bytes:
        """Returns the events of a segment that became final."""
        events = self._delta(segment["text"])
        if self._request.response_format == VERBOSE_JSON:
            events += encode_event(_segment_event(segment, self._request))
        return events

    def done(self, finished: Finished) -> bytes:
        """Returns the last events: the rest of the text, if not all of it was sent, and the whole result."""
        row, text = finished.row, finished.row["text"]
        sent = "".join(self._sent)
        rest = text[len(sent) :] if text.startswith(sent) else ""
        event: Json = {
            "type": "transcript.text.done",
            "text": text,
            "usage": _token_usage(row, self._token_ids),
        }
        if problem := problem_of(row, finished.failures):
            event["problem"] = problem
        if self._request.response_format == VERBOSE_JSON:
            event |= {"language": language_name(row, self._request), "duration": float(row["duration_s"])}
            event |= timed_parts(row, self._request, self._token_ids)
            event |= {name: RENDERERS[name](row) for name in (SRT, VTT)}
        return (_delta_event(rest) if rest else b"") + encode_event(event) + DONE

    def _delta(self, text: str) -> bytes:
        text = self._held + text if self._sent else text.lstrip()
        delta = text.rstrip()
        self._held = text[len(delta) :]
        if not delta:
            return b""
        self._sent.append(delta)
        return _delta_event(delta)


def _delta_event(delta: str) -> bytes:
    return encode_event({"type": "transcript.text.delta", "delta": delta})


def _segment_event(segment: Row, request: TranscriptionRequest) -> Json:
    event: Json = {
        "type": "transcript.text.segment",
        "id": str(segment["id"]),
        "start": float(segment["start"]),
        "end": float(segment["end"]),
        "text": segment["text"],
        "speaker": "",
    }
    return event | ({"words": list(words_of(segment))} if wants_words(request) else {})


def _token_usage(row: Row, token_ids: TokenIds) -> Json:
    n_input = math.ceil(_TOKENS_PER_S * row["duration_s"])
    n_output = len(token_ids(row["text"]))
    tokens = {"input_tokens": n_input, "output_tokens": n_output, "total_tokens": n_input + n_output}
    return {**usage(row), "type": "tokens", **tokens}
