"""The OpenAPI 3.1 document of the server, which /openapi.json returns.

It is made from the tables below: fields of the forms, statuses and routes. What a request may not have, such
as `include[]` or speakers, is not in it; such a request is answered with 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from model.interface import TASKS
from pipelines.server.api_keys import OPEN_PATHS
from pipelines.server.chunking import AUTO, RANGES, SERVER_VAD
from pipelines.server.form import GRANULARITIES, SEGMENT, WORD
from pipelines.server.request import JSON, RESPONSE_FORMATS, SRT, VERBOSE_JSON, VTT

Json = dict[str, Any]

OPENAPI_VERSION = "3.1.0"
TITLE = "whisper-beam"
JSON_TYPE, TEXT_TYPE, EVENTS_TYPE = "application/json", "text/plain", "text/event-stream"
FORM_TYPE = "multipart/form-data"

_STRING: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_INTEGER: Json = {"type": "integer"}
_SECONDS: Json = {"type": "number", "minimum": 0}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(*optional: str, **properties: Json) -> Json:
    """Returns the schema of an object; properties are required unless they are named as optional."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


SCHEMAS: Mapping[str, Json] = {
    "Error": _object(
        error=_object(
            message=_STRING,
            type=_STRING,
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"]},
        )
    ),
    "Usage": _object(type={"type": "string", "const": "duration"}, seconds={"type": "integer", "minimum": 0}),
    "Segment": _object(
        id=_INTEGER,
        seek=_INTEGER,
        start=_SECONDS,
        end=_SECONDS,
        text=_STRING,
        tokens=_array(_INTEGER),
        temperature=_NUMBER,
        avg_logprob=_NUMBER,
        compression_ratio=_NUMBER,
        no_speech_prob=_NUMBER,
    ),
    "Word": _object(word=_STRING, start=_SECONDS, end=_SECONDS),
    "Transcription": _object(
        "languages",
        "problem",
        text=_STRING,
        languages=_array(_object(code=_STRING)),
        usage=_ref("Usage"),
        problem=_STRING,
    ),
    "TranscriptionVerbose": _object(
        "segments",
        "words",
        "problem",
        task={"type": "string", "enum": list(TASKS)},
        language=_STRING,
        duration=_SECONDS,
        text=_STRING,
        segments=_array(_ref("Segment")),
        words=_array(_ref("Word")),
        usage=_ref("Usage"),
        problem=_STRING,
    ),
    "Model": _object(
        id=_STRING, object={"type": "string", "const": "model"}, created=_INTEGER, owned_by=_STRING
    ),
    "Models": _object(object={"type": "string", "const": "list"}, data=_array(_ref("Model"))),
    "Status": _object(status=_STRING),
}


def _text(description: str) -> Json:
    return {**_STRING, "description": description}


def _texts(description: str) -> Json:
    return {**_array(_STRING), "description": description}


def _chunking_fields() -> dict[str, Json]:
    kind: Json = {"type": "string", "enum": [AUTO, SERVER_VAD]}
    numbers = {
        name: {"type": "integer" if is_whole else "number", "minimum": 0, "maximum": maximum}
        for name, (maximum, is_whole) in RANGES.items()
    }
    return {f"chunking_strategy[{name}]": schema for name, schema in {"type": kind, **numbers}.items()}


_EVENT: Json = {
    **_object(
        "event", data=_text("an event of OpenAI's in JSON, or an error; at the end [DONE]"), event=_STRING
    ),
    "description": "each event of the stream",
}

FORM_FIELDS: Mapping[str, Json] = {
    "file": {"type": "string", "format": "binary", "description": "the recording, in any audio format"},
    "model": _STRING,
    "language": _text("language of the speech: code, English name or tag; auto detects it"),
    "languages[]": _texts("languages among which it is detected; not together with language"),
    "prompt": _text("text that precedes the recording"),
    "keywords[]": _texts("names and terms that may occur"),
    "hotwords": _text("likewise, in one text"),
    "clip_timestamps": _text("only these parts are transcribed: START,END,START,END,... in seconds"),
    "response_format": {"type": "string", "enum": list(RESPONSE_FORMATS), "default": JSON},
    "temperature": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0,
        "description": "0 decodes again at higher temperatures where needed; above 0, at this one alone",
    },
    "timestamp_granularities[]": {
        **_array({"type": "string", "enum": list(GRANULARITIES)}),
        "description": f"what {VERBOSE_JSON} has: segments, or words, or both; {WORD} needs {VERBOSE_JSON}",
    },
    "stream": {
        "type": "boolean",
        "default": False,
        "description": f"answer with Server-Sent Events; not with {SRT} and {VTT}",
    },
    "chunking_strategy": _text(f"{AUTO}; voice activity detection is always on"),
    **_chunking_fields(),
}
"""Schemas of the fields of a form, by name."""

STATUSES: Mapping[int, str] = {
    200: "the result",
    400: "the request is invalid, or the file is not audio that can be decoded",
    401: "no API key, or not one of the server's",
    403: "a page of another origin may not use the server",
    404: "there is no such model",
    405: "the path has no such method",
    408: "the upload took too long",
    413: "the file exceeds the server's limit",
    429: "too many requests, or the queue is full: try again after the seconds of Retry-After",
    500: "an error of the server",
    503: "the server is starting or stopping: try again after the seconds of Retry-After",
}
"""Statuses and when they occur; all but 200 have the body `Error`."""

_ANY_PATH = (400, 403, 405, 500)  # of the checks before the path counts
_LIMITED = (429, 503)


@dataclass(frozen=True)
class Route:
    """A path with its only method.

    Attributes:
        content: schemas of the answer's body by content type.
        statuses: besides 200 and those of any path.
        is_form: whether a form is posted.
        has_words: whether the answer can have words.
    """

    path: str
    summary: str
    content: Mapping[str, Json]
    statuses: Sequence[int] = ()
    is_form: bool = False
    has_words: bool = True


_ANSWERS: Mapping[str, Json] = {
    JSON_TYPE: {"anyOf": [_ref("Transcription"), _ref("TranscriptionVerbose")]},
    TEXT_TYPE: _STRING,
    EVENTS_TYPE: _EVENT,
}
_FORM_STATUSES = (404, 408, 413, *_LIMITED)
_STATUS = {JSON_TYPE: _ref("Status")}

ROUTES = (
    Route("/v1/audio/transcriptions", "Transcribes a recording", _ANSWERS, _FORM_STATUSES, is_form=True),
    Route(
        "/v1/audio/translations",
        "Translates a recording to English",
        _ANSWERS,
        _FORM_STATUSES,
        is_form=True,
        has_words=False,
    ),
    Route("/v1/models", "Lists the models", {JSON_TYPE: _ref("Models")}, _LIMITED),
    Route("/v1/models/{model}", "Describes a model", {JSON_TYPE: _ref("Model")}, (404, *_LIMITED)),
    Route("/health", "Whether the process works", _STATUS),
    Route("/ready", "Whether the model is loaded and compiled", _STATUS, (503,)),
    Route("/metrics", "Figures in Prometheus's text format", {TEXT_TYPE: _STRING}),
    Route("/openapi.json", "This document", {JSON_TYPE: {"type": "object"}}),
)


def openapi_document(model: str, *, version: str, needs_key: bool = False, allows_urls: bool = False) -> Json:
    """Returns the document of a server, as JSON types.

    Args:
        model: name of the served model.
        version: version of the server.
        needs_key: whether requests need an API key.
        allows_urls: whether `url` may be sent instead of `file`.
    """
    document: Json = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": TITLE, "version": version, "description": f"Speech to text with {model}"},
        "paths": {
            route.path: {
                "post" if route.is_form else "get": _operation(
                    route, model, needs_key=needs_key, allows_urls=allows_urls
                )
            }
            for route in ROUTES
        },
        "components": {"schemas": dict(SCHEMAS)},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
    return document


def _operation(route: Route, model: str, *, needs_key: bool, allows_urls: bool) -> Json:
    has_key = needs_key and route.path not in OPEN_PATHS
    statuses = sorted({200, *_ANY_PATH, *route.statuses, *((401,) if has_key else ())})
    operation: Json = {
        "summary": route.summary,
        "operationId": route.path.strip("/").translate(str.maketrans("/.", "__", "{}")),
        "responses": {str(status): _response(route, status) for status in statuses},
    }
    if has_key:
        operation["security"] = [{"api_key": []}]
    if "{model}" in route.path:
        parameter = {"name": "model", "in": "path", "required": True, "schema": _STRING, "example": model}
        operation["parameters"] = [parameter]
    if route.is_form:
        form = _form(model, has_words=route.has_words, allows_urls=allows_urls)
        operation["requestBody"] = {"required": True, "content": {FORM_TYPE: {"schema": form}}}
    return operation


def _response(route: Route, status: int) -> Json:
    content = route.content if status == HTTPStatus.OK else {JSON_TYPE: _ref("Error")}
    response: Json = {
        "description": STATUSES[status],
        "headers": {"x-request-id": {"schema": _STRING}},
        "content": {content_type: {"schema": schema} for content_type, schema in content.items()},
    }
    if status in _LIMITED:
        response["headers"]["retry-after"] = {"required": True, "schema": {"type": "integer", "minimum": 0}}
    return response


def _form(model: str, *, has_words: bool, allows_urls: bool) -> Json:
    fields = dict(FORM_FIELDS)
    fields["model"] = {**fields["model"], "default": model}
    if not has_words:
        fields["timestamp_granularities[]"] = _array({"type": "string", "enum": [SEGMENT]})
    if not allows_urls:
        return {"type": "object", "properties": fields, "required": ["file"]}
    fields["url"] = {"type": "string", "format": "uri", "description": "of the recording, instead of file"}
    required = [{"required": ["file"]}, {"required": ["url"]}]
    return {"type": "object", "properties": fields, "oneOf": required}
