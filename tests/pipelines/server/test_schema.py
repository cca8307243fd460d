from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.definitions import OPENAPI_31
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.server.api_keys import OPEN_PATHS
from pipelines.server.chunking import RANGES
from pipelines.server.errors import invalid_file, invalid_request, overloaded
from pipelines.server.events import event_stream
from pipelines.server.form import KNOWN_FIELDS
from pipelines.server.formats import render
from pipelines.server.request import RESPONSE_FORMATS
from pipelines.server.schema import ROUTES, STATUSES, openapi_document
from tests.support.answered_rows import TEXTS, request_of, row_of, token_ids
from tests.support.openai_answers import events_of

DOCUMENT = openapi_document("openai/whisper-base", version="0.1.0")
WITH_KEYS = openapi_document("openai/whisper-base", version="0.1.0", needs_key=True)
Json = dict[str, Any]


def operation_of(path: str, document: Json = DOCUMENT) -> Json:
    (operation,) = document["paths"][path].values()
    found: Json = operation
    return found


def form_of(path: str, document: Json = DOCUMENT) -> Json:
    form: Json = operation_of(path, document)["requestBody"]["content"]["multipart/form-data"]["schema"]
    return form


def check(body: bytes | Json, path: str, status: int = 200) -> None:
    """Checks a body in JSON against the schema of an answer; properties that it does not name are errors."""
    value = json.loads(body) if isinstance(body, bytes) else body
    schema = operation_of(path)["responses"][str(status)]["content"]["application/json"]["schema"]
    closed = {
        name: {**one, "additionalProperties": False}
        for name, one in DOCUMENT["components"]["schemas"].items()
    }
    jsonschema.validate(value, {**schema, "components": {"schemas": closed}})


@pytest.mark.parametrize("document", [DOCUMENT, WITH_KEYS])
def test_document_is_valid_openapi(document: Json) -> None:
    jsonschema.Draft202012Validator(OPENAPI_31).validate(document)
    assert json.loads(json.dumps(document)) == document


def test_schemas_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_references_lead_to_schemas() -> None:
    references = set[str]()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            references.update([node["$ref"]] if "$ref" in node else [])
            list(map(collect, node.values()))
        elif isinstance(node, list):
            list(map(collect, node))

    collect(DOCUMENT)
    names = {name.removeprefix("#/components/schemas/") for name in references}
    assert names == set(DOCUMENT["components"]["schemas"])


def test_paths() -> None:
    assert {path: list(methods) for path, methods in DOCUMENT["paths"].items()} == {
        "/v1/audio/transcriptions": ["post"],
        "/v1/audio/translations": ["post"],
        "/v1/models": ["get"],
        "/v1/models/{model}": ["get"],
        "/health": ["get"],
        "/ready": ["get"],
        "/metrics": ["get"],
        "/openapi.json": ["get"],
    }
    ids = [operation_of(route.path)["operationId"] for route in ROUTES]
    assert len(set(ids)) == len(ROUTES)


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize("problem", [None, "cut short"])
def test_answers_agree_with_their_schema(response_format: str, task: str, problem: str | None) -> None:
    row = row_of(*TEXTS, problem=problem)
    request = request_of(response_format, task=task, words=True)
    path = "/v1/audio/transcriptions" if task == "transcribe" else "/v1/audio/translations"
    check(render(row, [], request, token_ids).content, path)


def test_schema_of_answers_is_not_empty() -> None:
    for wrong in ({}, {"text": 1}, {"text": "a", "usage": {"type": "duration", "seconds": 1}, "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check(wrong, "/v1/audio/transcriptions")


def test_errors_agree_with_their_schema() -> None:
    check(invalid_file().to_json(), "/v1/audio/transcriptions", 400)
    check(overloaded(64, 2.0).to_json(), "/v1/audio/transcriptions", 429)
    with pytest.raises(jsonschema.ValidationError):
        check({"detail": "no"}, "/v1/audio/transcriptions", 400)


def test_models_agree_with_their_schema() -> None:
    model = {"id": "openai/whisper-base", "object": "model", "created": 0, "owned_by": "whisper-beam"}
    check(model, "/v1/models/{model}")
    check({"object": "list", "data": [model]}, "/v1/models")


def test_fields_are_those_that_the_form_knows() -> None:
    impossible = {"include", "known_speaker_names", "known_speaker_references"}
    with_urls = openapi_document("base", version="0", allows_urls=True)
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        names = {name.removesuffix("[]") for name in form_of(path, with_urls)["properties"]}
        chunking = {f"chunking_strategy[{name}]" for name in ("type", *RANGES)}
        assert names == (KNOWN_FIELDS - impossible) | {"file"} | chunking
        assert "url" not in form_of(path)["properties"]


def test_form_names_the_values_that_are_accepted() -> None:
    fields = form_of("/v1/audio/transcriptions")["properties"]
    assert fields["response_format"]["enum"] == list(RESPONSE_FORMATS)
    assert fields["model"]["default"] == "openai/whisper-base"
    translated = form_of("/v1/audio/translations")["properties"]
    assert fields["timestamp_granularities[]"]["items"]["enum"] == ["word", "segment"]
    assert translated["timestamp_granularities[]"]["items"]["enum"] == ["segment"]


def test_file_or_url_is_required() -> None:
    with_urls = form_of("/v1/audio/transcriptions", openapi_document("base", version="0", allows_urls=True))
    for form, accepted, refused in (
        (form_of("/v1/audio/transcriptions"), [{"file": ""}], [{}, {"url": ""}]),
        (with_urls, [{"file": ""}, {"url": ""}], [{}, {"file": "", "url": ""}]),
    ):
        validator = jsonschema.Draft202012Validator(form)
        assert all(map(validator.is_valid, accepted))
        assert not any(map(validator.is_valid, refused))


def test_keys_are_needed_where_the_server_has_some() -> None:
    protected = {route.path for route in ROUTES if "security" in operation_of(route.path, WITH_KEYS)}
    assert {"/v1/audio/transcriptions", "/v1/models"} <= protected
    assert protected == {route.path for route in ROUTES} - OPEN_PATHS
    for route in ROUTES:
        responses = operation_of(route.path, WITH_KEYS)["responses"]
        assert ("401" in responses) == (route.path in protected)
        assert "401" not in operation_of(route.path)["responses"]
    assert "securitySchemes" not in DOCUMENT["components"]


def test_every_answer_is_declared() -> None:
    statuses = set(operation_of("/v1/audio/transcriptions", WITH_KEYS)["responses"])
    assert statuses == set(map(str, STATUSES))
    for status in ("429", "503"):
        headers = operation_of("/v1/audio/transcriptions")["responses"][status]["headers"]
        assert headers["retry-after"]["required"]


def _events() -> bytes:
    async def no_segments() -> Any:  # noqa: ANN401
        for segment in row_of(*TEXTS)["segments"]:
            yield segment

    class Finished:
        row, failures = row_of(*TEXTS), ()

    async def result() -> Finished:
        return Finished()

    async def run() -> bytes:
        stream = event_stream(no_segments(), result, request_of("json"), token_ids, lambda error: {})
        return b"".join([chunk async for chunk in stream])

    return asyncio.run(run())


async def _transcribe(request: Request) -> Response:
    async with request.form() as form:
        if "file" not in form:
            return invalid_file().response()
        if form.get("stream") == "true":
            return Response(EVENTS, media_type="text/event-stream")
        wanted = form.get("response_format", "json")
        if wanted not in RESPONSE_FORMATS:
            return invalid_file().response()
        body = render(row_of(*TEXTS), [], request_of(str(wanted)), token_ids)
        return Response(body.content, media_type=body.content_type)


def _model(request: Request) -> Response:
    model = {"id": "base", "object": "model", "created": 0, "owned_by": "whisper-beam"}
    return JSONResponse(model if "id" in request.path_params else {"object": "list", "data": [model]})


EVENTS = _events()


def _bad_request(request: Request, error: Exception) -> Response:
    return invalid_request(str(error)).response()


SERVER = Starlette(
    exception_handlers={HTTPException: _bad_request},  # of Starlette's parser of forms
    routes=[
        Route("/v1/audio/transcriptions", _transcribe, methods=["POST"]),
        Route("/v1/audio/translations", _transcribe, methods=["POST"]),
        Route("/v1/models", _model),
        Route("/v1/models/{id:path}", _model),
        Route("/health", lambda request: JSONResponse({"status": "ok"})),
        Route("/ready", lambda request: JSONResponse({"status": "ready"})),
        Route("/metrics", lambda request: PlainTextResponse("# HELP a\n")),
        Route("/openapi.json", lambda request: JSONResponse(DOCUMENT)),
    ],
)
"""A server with our answers, and no model."""

schema = schemathesis.openapi.from_asgi("/openapi.json", SERVER)


@schema.parametrize()
@settings(
    max_examples=10,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_requests_made_from_the_document_are_answered_as_it_declares(case: schemathesis.Case) -> None:
    response = case.call()
    for one in (
        schemathesis.checks.CHECKS.get_one(name)
        for name in (
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
        )
    ):
        case.validate_response(response, checks=[one])


def test_events_of_the_stub_are_a_stream() -> None:
    assert len(events_of(EVENTS)) == 3
