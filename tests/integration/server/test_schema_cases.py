"""Requests that schemathesis makes from /openapi.json: none is a 5xx, and answers are as it declares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema

from pipelines.server.server import Server
from tests.support.openai_answers import events_of
from tests.support.raw_http import TRANSCRIPTIONS, TRANSLATIONS
from tests.support.server_backends import talk

N_CASES = {TRANSCRIPTIONS: 220, TRANSLATIONS: 140}
"""Cases for the endpoints, valid ones and as many invalid ones."""

N_OTHERS = 20
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
TALK = talk(1)


USABLE = (
    *("hotwords", "keywords[]", "prompt", "response_format", "stream", "temperature"),
    "timestamp_granularities[]",
)
"""Fields of which every value that is generated can be used, if they fit each other."""


@pytest.fixture(scope="module")
def schema(server: Server) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def operations_of(schema: BaseSchema) -> list[APIOperation]:
    return [operation.ok() for operation in schema.get_all_operations()]


def checks() -> Sequence[Any]:
    return [schemathesis.checks.CHECKS.get_one(name) for name in CHECKS]


def usable(case: schemathesis.Case) -> schemathesis.Case:
    """Returns a case whose file is audio, and whose other fields are likely to be valid."""
    if isinstance(case.body, dict) and "file" in case.body:
        kept = {name: case.body[name] for name in USABLE if name in case.body}
        case.body = {**kept, "file": TALK}
    return case


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_cases(schema: BaseSchema, mode: GenerationMode) -> None:
    operations = operations_of(schema)
    assert len(operations) == 7  # all but that of the schema itself
    statuses = Counter[tuple[str, int]]()
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.body:
            run(operation, mode, statuses)
    assert statuses.total() >= sum(N_CASES.values())
    for path in N_CASES:
        assert statuses[path, 200] >= (30 if mode is GenerationMode.POSITIVE else 1)
        assert statuses[path, 400] >= 30


def run(operation: APIOperation, mode: GenerationMode, statuses: Counter[tuple[str, int]]) -> None:
    @settings(
        max_examples=N_CASES.get(operation.path, N_OTHERS),
        phases=[Phase.generate],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(mode), st.booleans())
    def check(case: schemathesis.Case, is_usable: bool) -> None:
        response = (usable(case) if is_usable else case).call()
        statuses[operation.path, response.status_code] += 1
        for one in checks():
            case.validate_response(response, checks=[one])
        if "text/event-stream; charset=utf-8" in response.headers["content-type"]:
            events_of(response.content)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    check()
