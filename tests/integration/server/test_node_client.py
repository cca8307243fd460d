"""The official client for Node.js, where there is Node.js and a registry: the client is installed once."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, Translation, TranslationVerbose
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from pipelines.server.server import Server
from pipelines.server.upload import Upload, UploadReader
from tests.support.node import folder_with_openai
from tests.support.openai_answers import parse_answer, parse_event, parse_srt, parse_vtt
from tests.support.server_backends import text_of

SCRIPT = Path(__file__).parents[2] / "support" / "openai_client.mjs"
FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ([], ["word"], ["segment"], ["word", "segment"])
KINDS: dict[tuple[str, str], type[BaseModel]] = {
    ("transcriptions", "json"): Transcription,
    ("transcriptions", "verbose_json"): TranscriptionVerbose,
    ("translations", "json"): Translation,
    ("translations", "verbose_json"): TranslationVerbose,
}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def package(request: pytest.FixtureRequest) -> Path:
    """The folder of the client's package."""
    assert request.config.cache is not None
    return folder_with_openai(request.config.cache) / "node_modules" / "openai"


def send(package: Path, server: Server, requests: Iterable[Json]) -> list[Json]:
    """Sends all requests at once, and returns the results."""
    ran = subprocess.run(
        ["node", str(SCRIPT), str(package), f"{server.url}/v1"],
        input=json.dumps(list(requests)),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    results: list[Json] = json.loads(ran.stdout)
    return results


def request_of(
    talk_file: Path, endpoint: str = "transcriptions", kind: str = "stream", **fields: object
) -> Json:
    return {"endpoint": endpoint, "file": str(talk_file), "kind": kind, "fields": fields}


def test_formats_and_granularities(package: Path, server: Server, talk_file: Path) -> None:
    cases = list(itertools.product(("transcriptions", "translations"), FORMATS, GRANULARITIES))
    results = send(
        package,
        server,
        (
            request_of(
                talk_file,
                endpoint,
                response_format=response_format,
                **({"timestamp_granularities": granularities} if granularities else {}),
            )
            for endpoint, response_format, granularities in cases
        ),
    )
    for (endpoint, response_format, granularities), result in zip(cases, results, strict=True):
        can_have_words = (endpoint, response_format) == ("transcriptions", "verbose_json")
        if "word" in granularities and not can_have_words:
            assert result["error"]["name"] == "BadRequestError"
            assert result["error"]["param"] == "timestamp_granularities"
        else:
            check(result["value"], endpoint, response_format, granularities)


def check(value: Any, endpoint: str, response_format: str, granularities: list[str]) -> None:  # noqa: ANN401
    if response_format in ("text", "srt", "vtt"):
        cues = {"srt": parse_srt, "vtt": parse_vtt}.get(response_format)
        assert (" ".join(cue.text for cue in cues(value)) if cues else value) == text_of(5)
        return
    parse_answer(KINDS[endpoint, response_format], json.dumps(value).encode())
    assert value["text"] == text_of(5)
    if response_format == "verbose_json":
        assert ("words" in value) == ("word" in granularities)
        assert ("segments" in value) == (granularities != ["word"])


def test_streams(package: Path, server: Server, talk_file: Path) -> None:
    """The fields come after the file, so that the answer is known to be a stream only at the upload's end."""
    formats = ("json", "text", "verbose_json")
    kinds = ("stream", "buffer")
    cases = list(itertools.product(formats, kinds))
    results = send(
        package,
        server,
        (request_of(talk_file, kind=kind, response_format=one, stream=True) for one, kind in cases),
    )
    for (response_format, _), result in zip(cases, results, strict=True):
        events = result["events"]
        for event in events:
            parse_event(json.dumps(event))
        deltas = [event["delta"] for event in events if event["type"] == "transcript.text.delta"]
        assert events[-1]["type"] == "transcript.text.done"
        assert "".join(deltas) == events[-1]["text"] == text_of(5)
        n_segments = sum(event["type"] == "transcript.text.segment" for event in events)
        assert n_segments == (5 if response_format == "verbose_json" else 0)


@pytest.mark.parametrize("kind", ["stream", "buffer", "unnamed", "typed"])
def test_files(
    package: Path, server: Server, talk_file: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, headers = UploadReader.read, dict[str, str]()

    async def noted(reader: UploadReader, scope: Scope, receive: Receive) -> Upload:
        headers.update(Headers(scope=scope))
        return await read(reader, scope, receive)

    monkeypatch.setattr(UploadReader, "read", noted)
    (result,) = send(package, server, [request_of(talk_file, kind=kind)])
    assert result["value"]["text"] == text_of(5)
    assert ("content-length" in headers, headers.get("transfer-encoding")) == (
        (False, "chunked") if kind == "stream" else (True, None)
    )


def test_fields(package: Path, server: Server, talk_file: Path) -> None:
    fields: list[Json] = [
        {"language": "fr"},
        {"languages": ["fr"]},
        {"keywords": ["Ada", "Lovelace"], "prompt": "Ada", "temperature": 0.2},
        {"chunking_strategy": "auto"},
        {"chunking_strategy": {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 300}},
    ]
    results = send(package, server, (request_of(talk_file, **one) for one in fields))
    texts = [result["value"]["text"] for result in results]
    assert texts == [text_of(5, language="fr")] * 2 + [text_of(5)] * 3


def test_errors(package: Path, server: Server, talk_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.mp3"
    page.write_bytes(b"<html>" * 1000)
    results = send(
        package,
        server,
        [
            request_of(page),
            request_of(talk_file, language="klingon"),
            request_of(talk_file, include=["logprobs"]),
            request_of(talk_file, model="gpt-4o-transcribe"),
            request_of(page, stream=True),
        ],
    )
    errors = [result["error"] for result in results]
    assert [error["name"] for error in errors] == [
        "BadRequestError",
        "BadRequestError",
        "BadRequestError",
        "NotFoundError",
        "BadRequestError",
    ]
    assert [error["param"] for error in errors] == ["file", "language", "include", "model", "file"]
    assert all(error["type"] == "invalid_request_error" and error["requestID"] for error in errors)
    assert "Invalid file format" in errors[0]["message"]
