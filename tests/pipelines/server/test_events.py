from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.languages import LANGUAGES
from pipelines.server.events import CONTENT_TYPE, HEADERS, KEEP_ALIVE, begin, event_stream
from tests.support.answered_rows import TEXTS, request_of, row_of, token_ids
from tests.support.openai_answers import (
    client_events,
    events_of,
    parse_event,
    parse_srt,
    parse_vtt,
    split_events,
)
from transforms.core.types import Failure

ROW = row_of(*TEXTS)
WHOLE = {"language", "duration", "srt", "vtt"}
"""Properties of `done` for each request of verbose_json."""

Row = dict[str, Any]


@dataclass
class Finished:
    row: Row
    failures: Sequence[Failure] = ()


@dataclass
class Source:
    """The segments of a row, each after a pause; counts how often it was closed."""

    row: Row = field(default_factory=lambda: ROW)
    segments: Sequence[Row] | None = None
    pause_s: float = 0.0
    error: Exception | None = None
    n_closed: int = 0
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> AsyncGenerator[Row, None]:
        try:
            for segment in self.row["segments"] if self.segments is None else self.segments:
                self.is_waiting.set()
                await asyncio.sleep(self.pause_s)
                yield segment
            if self.error:
                raise self.error
        finally:
            self.n_closed += 1

    async def result(self) -> Finished:
        return Finished(self.row)


def to_error(error: Exception) -> dict[str, Any]:
    return {"error": {"message": str(error), "type": "server_error", "param": None, "code": None}}


def stream_of(source: Source, keep_alive_s: float = 15.0, **fields: Any) -> AsyncGenerator[bytes, None]:  # noqa: ANN401
    return event_stream(
        source.read(), source.result, request_of(**fields), token_ids, to_error, keep_alive_s=keep_alive_s
    )


async def joined(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


def streamed(source: Source, **fields: Any) -> bytes:  # noqa: ANN401
    return asyncio.run(joined(stream_of(source, **fields)))


def deltas_of(events: Sequence[Row]) -> list[str]:
    return [event["delta"] for event in events if event["type"] == "transcript.text.delta"]


def test_events() -> None:
    assert events_of(streamed(Source())) == [
        {"type": "transcript.text.delta", "delta": "Grüße, 世界."},
        {"type": "transcript.text.delta", "delta": " Second \u2028 one."},
        {
            "type": "transcript.text.done",
            "text": ROW["text"],
            "usage": {
                "type": "tokens",
                "seconds": 9,
                "input_tokens": 424,
                "output_tokens": len(token_ids(ROW["text"])),
                "total_tokens": 424 + len(token_ids(ROW["text"])),
            },
        },
    ]


def test_official_client_reads_them() -> None:
    events = client_events(streamed(Source()))
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == ROW["text"]


@given(st.lists(st.text(st.sampled_from("a \n\u3000世"), max_size=4), max_size=5))
def test_deltas_joined_are_the_text(texts: list[str]) -> None:
    row = row_of(*texts)
    *events, done = events_of(streamed(Source(row)))
    assert "".join(deltas_of(events)) == done["text"] == row["text"]
    assert all(deltas_of(events))


def test_segments_that_were_not_sent_early_come_at_the_end() -> None:
    events = events_of(streamed(Source(segments=ROW["segments"][:1])))
    assert deltas_of(events) == ["Grüße, 世界.", " Second \u2028 one."]


def test_text_of_done_counts_where_early_segments_were_wrong() -> None:
    early = row_of(" Groeten", " wereld")["segments"]
    events = events_of(streamed(Source(segments=early)))
    assert deltas_of(events) == ["Groeten", " wereld"]
    assert events[-1]["text"] == ROW["text"]


def test_silence_is_only_done() -> None:
    (done,) = events_of(streamed(Source(row_of(language=None)), response_format="verbose_json"))
    assert (done["text"], done["segments"], done["srt"], done["vtt"]) == ("", [], "", "WEBVTT\n\n")


def test_verbose_json_has_segments_words_and_subtitles() -> None:
    events = events_of(streamed(Source(), response_format="verbose_json", words=True))
    assert [event["type"].rpartition(".")[2] for event in events] == [
        "delta", "segment", "delta", "segment", "done"
    ]  # fmt: skip
    assert events[3] == {
        "type": "transcript.text.segment",
        "id": "1",
        "start": 2.0,
        "end": 3.5,
        "text": TEXTS[1],
        "speaker": "",
        "words": [
            {"word": "Second", "start": 2.0, "end": 2.1},
            {"word": "one.", "start": 2.1, "end": 2.2},
        ],
    }
    done = events[-1]
    assert (done["language"], done["duration"]) == (LANGUAGES[ROW["language"]], ROW["duration_s"])
    assert [segment["text"] for segment in done["segments"]] == list(TEXTS)
    assert [word["word"] for word in done["words"]] == ["Grüße,", "世界.", "Second", "one."]
    assert len(parse_srt(done["srt"])) == len(parse_vtt(done["vtt"])) == 2


@pytest.mark.parametrize(
    ("fields", "present"),
    [
        ({"response_format": "json", "words": True}, set()),
        ({"response_format": "text"}, set()),
        ({"response_format": "verbose_json"}, {*WHOLE, "segments"}),
        ({"response_format": "verbose_json", "words": True, "segments": False}, {*WHOLE, "words"}),
        ({"response_format": "verbose_json", "words": True, "task": "translate"}, {*WHOLE, "segments"}),
    ],
)
def test_done_has_what_the_format_has(fields: dict[str, Any], present: set[str]) -> None:
    events = events_of(streamed(Source(), **fields))
    assert set(events[-1]) - {"type", "text", "usage"} == present
    segment_events = [event for event in events if event["type"] == "transcript.text.segment"]
    assert bool(segment_events) == (fields["response_format"] == "verbose_json")
    assert all(("words" in event) == ("words" in present) for event in segment_events)


def test_problem_is_in_done() -> None:
    row = row_of(*TEXTS, problem="cut short")
    assert events_of(streamed(Source(row)))[-1]["problem"] == "cut short"


def test_comments_are_sent_while_it_is_quiet() -> None:
    stream = streamed(Source(pause_s=0.25), keep_alive_s=0.1)
    assert stream.startswith(KEEP_ALIVE)
    assert stream.count(KEEP_ALIVE) >= 4
    assert len(client_events(stream)) == 3
    assert KEEP_ALIVE not in streamed(Source(pause_s=0.01), keep_alive_s=5.0)


def test_error_after_the_start_is_the_last_event() -> None:
    stream = streamed(Source(error=ValueError("the model failed")))
    *events, error = split_events(stream)
    assert len([parse_event(event) for event in events]) == 2
    assert json.loads(error) == to_error(ValueError("the model failed"))
    with pytest.raises(openai.APIError, match="the model failed"):
        client_events(stream)


def test_error_of_the_result_is_an_event() -> None:
    source = Source()

    async def failing() -> Finished:
        raise ValueError("the merge failed")

    async def run() -> bytes:
        return await joined(event_stream(source.read(), failing, request_of(), token_ids, to_error))

    assert json.loads(split_events(asyncio.run(run()))[-1])["error"]["message"] == "the merge failed"


def test_error_before_the_first_event_is_raised() -> None:
    async def run() -> None:
        await begin(stream_of(Source(segments=[], error=ValueError("not audio"))))

    with pytest.raises(ValueError, match="not audio"):
        asyncio.run(run())


def test_error_after_a_comment_is_an_event() -> None:
    async def run() -> bytes:
        gate = asyncio.Event()

        async def late() -> AsyncGenerator[Row, None]:
            await gate.wait()
            raise ValueError("not audio")
            yield {}

        stream = event_stream(late(), Source().result, request_of(), token_ids, to_error, keep_alive_s=0.05)
        begun = await begin(stream)
        gate.set()
        return await joined(begun)

    stream = asyncio.run(run())
    assert stream.startswith(KEEP_ALIVE)
    assert "error" in json.loads(split_events(stream)[-1])


def test_begin_waits_for_a_comment_at_the_latest() -> None:
    async def run() -> bytes:
        async with asyncio.timeout(5), aclosing(await begin(stream_of(Source(pause_s=60.0), 0.01))) as stream:
            return await anext(stream)

    assert asyncio.run(run()) == KEEP_ALIVE


def test_last_event_of_hours_is_not_made_on_the_event_loop() -> None:
    threads = []

    def noting(text: str) -> list[int]:
        threads.append(threading.get_ident())
        return token_ids(text)

    async def run() -> None:
        source, request = Source(), request_of(response_format="verbose_json")
        await joined(event_stream(source.read(), source.result, request, noting, to_error))

    asyncio.run(run())
    assert threads
    assert threading.get_ident() not in threads


def test_begin_loses_no_event() -> None:
    async def run() -> bytes:
        return await joined(await begin(stream_of(Source())))

    assert asyncio.run(run()) == streamed(Source())


def test_events_are_sent_as_they_come() -> None:
    async def run() -> None:
        source = Source(segments=[ROW["segments"][0], ROW["segments"][1]], pause_s=0.0)
        gate = asyncio.Event()

        async def gated() -> AsyncGenerator[Row, None]:
            yield ROW["segments"][0]
            await gate.wait()
            yield ROW["segments"][1]

        async with aclosing(
            event_stream(gated(), source.result, request_of(), token_ids, to_error)
        ) as stream:
            assert "Grüße".encode() in await asyncio.wait_for(anext(stream), 5)
            gate.set()
            assert b"Second" in await asyncio.wait_for(anext(stream), 5)

    asyncio.run(run())


def test_closing_the_stream_closes_the_source() -> None:
    async def run() -> int:
        source = Source(pause_s=0.0, segments=[ROW["segments"][0]] * 1000)
        async with aclosing(stream_of(source)) as stream:
            await anext(stream)
        return source.n_closed

    assert asyncio.run(run()) == 1


def test_closing_what_begin_returned_closes_the_source() -> None:
    async def run() -> int:
        source = Source(pause_s=0.01, segments=[ROW["segments"][0]] * 1000)
        async with aclosing(await begin(stream_of(source))) as stream:
            await anext(stream)
        return source.n_closed

    assert asyncio.run(run()) == 1


async def _cancelled(consume: Callable[[AsyncIterator[bytes]], Awaitable[object]]) -> int:
    """Cancels a consumer while the source waits; returns how often the source was closed."""
    source = Source(pause_s=60.0)
    task = asyncio.ensure_future(consume(stream_of(source)))
    await source.is_waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return source.n_closed


def test_cancelling_closes_the_source() -> None:
    assert asyncio.run(_cancelled(joined)) == 1


def test_cancelling_a_scope_of_anyio_closes_the_source() -> None:
    import anyio

    async def run() -> int:
        source = Source(pause_s=60.0)
        async with anyio.create_task_group() as group:  # as Starlette runs a stream

            async def consume() -> None:
                await joined(stream_of(source))

            group.start_soon(consume)
            await source.is_waiting.wait()
            group.cancel_scope.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        return source.n_closed

    assert asyncio.run(run()) == 1


def test_cancelling_is_not_lost_where_an_event_comes_at_the_same_time() -> None:
    async def run() -> bool:
        gate = asyncio.Event()

        async def gated() -> AsyncGenerator[Row, None]:
            yield ROW["segments"][0]
            await gate.wait()
            yield ROW["segments"][1]
            await asyncio.Event().wait()

        stream = event_stream(gated(), Source().result, request_of(), token_ids, to_error)
        task = asyncio.create_task(joined(stream))
        await asyncio.sleep(0.01)
        gate.set()
        for _ in range(2):  # until the second event is there, but not taken
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        return task.cancelled()

    assert asyncio.run(run())


def test_source_is_closed_once_after_the_last_event() -> None:
    source = Source()
    streamed(source)
    assert source.n_closed == 1


def test_headers_keep_proxies_from_holding_events_back() -> None:
    assert HEADERS == {"cache-control": "no-cache", "x-accel-buffering": "no"}
    assert CONTENT_TYPE == "text/event-stream; charset=utf-8"
