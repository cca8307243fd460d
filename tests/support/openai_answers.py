"""Strict parsers of the server's answers: OpenAI's types, event streams, SRT and WebVTT."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import openai
from openai.types.audio import TranscriptionStreamEvent
from pydantic import BaseModel, TypeAdapter

Model = TypeVar("Model", bound=BaseModel)

_SRT_TIMES = re.compile(r"(\d\d):([0-5]\d):([0-5]\d),(\d{3}) --> (\d\d):([0-5]\d):([0-5]\d),(\d{3})")
_VTT_TIMES = re.compile(
    r"(?:(\d\d+):)?([0-5]\d):([0-5]\d)\.(\d{3}) --> (?:(\d\d+):)?([0-5]\d):([0-5]\d)\.(\d{3})"
)
_STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(TranscriptionStreamEvent)


@dataclass(frozen=True)
class Cue:
    """A cue of subtitles, with times in milliseconds."""

    start: int
    end: int
    text: str


def parse_answer(kind: type[Model], body: bytes) -> Model:
    """Parses an answer strictly: the client itself takes wrong and missing values as they come."""
    for number in ("NaN", "Infinity"):
        assert number.encode() not in body
    return kind.model_validate_json(body.decode("utf-8"), strict=True)


def parse_event(data: str) -> Any:  # noqa: ANN401  # one of several classes
    """Parses the data of one event of a stream strictly."""
    return _STREAM_EVENT.validate_json(data, strict=True)


def split_events(stream: bytes) -> list[str]:
    """Splits a stream into the data of its events; checks its syntax. Comments are left out."""
    text = stream.decode("utf-8")
    assert text.endswith("\n\n")
    blocks = text[:-2].split("\n\n")
    assert all(block.startswith((": ", "data: ")) for block in blocks), blocks
    assert all(len(block.splitlines()) == 1 for block in blocks), blocks
    return [block.removeprefix("data: ") for block in blocks if not block.startswith(":")]


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Returns the events of a whole stream, which ends with [DONE], each checked against OpenAI's types."""
    *events, last = split_events(stream)
    assert last == "[DONE]"
    for event in events:
        parse_event(event)
    return [json.loads(event) for event in events]


def client_events(stream: bytes) -> list[Any]:
    """Returns the events as the official client reads them, which raises its errors."""
    import httpx2

    headers = {"content-type": "text/event-stream; charset=utf-8"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=stream))
    with openai.OpenAI(
        api_key="key", base_url="http://server/v1", http_client=httpx2.Client(transport=transport)
    ) as client:
        file = ("a.wav", b"RIFF", "audio/wav")
        return list(client.audio.transcriptions.create(file=file, model="base", stream=True))


def parse_srt(text: str) -> list[Cue]:
    """Parses SubRip; checks that cues are numbered from 1, have text and follow each other."""
    if not text:
        return []
    assert text.endswith("\n\n")
    cues = []
    for number, block in enumerate(text[:-2].split("\n\n"), start=1):
        index, times, *lines = block.split("\n")
        assert index == str(number)
        cues.append(_cue(_SRT_TIMES, times, lines))
    return _in_order(cues)


def parse_vtt(text: str) -> list[Cue]:
    """Parses WebVTT with cues of a time line and text; checks likewise."""
    assert text.startswith("WEBVTT\n\n")
    blocks = [block for block in text.removeprefix("WEBVTT\n\n").split("\n\n") if block]
    return _in_order([_cue(_VTT_TIMES, *_head_and_rest(block)) for block in blocks])


def _head_and_rest(block: str) -> tuple[str, list[str]]:
    head, *rest = block.split("\n")
    return head, rest


def _cue(pattern: re.Pattern[str], times: str, lines: Sequence[str]) -> Cue:
    found = pattern.fullmatch(times)
    assert found, times
    assert lines
    assert all(line.strip() and "-->" not in line for line in lines), lines
    numbers = [int(number or 0) for number in found.groups()]
    start, end = (
        ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths
        for hours, minutes, seconds, thousandths in (numbers[:4], numbers[4:])
    )
    assert start < end
    return Cue(start, end, "\n".join(lines))


def _in_order(cues: list[Cue]) -> list[Cue]:
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    return cues
