from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from pipelines.server.chunking import check_chunking_strategy
from pipelines.server.errors import ApiError

VAD = {"type": "server_vad"}


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (None, {}),
        ("auto", {}),
        (json.dumps(VAD), {}),
        (json.dumps({"type": "auto"}), {}),
        (json.dumps(VAD | {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200.0}), {}),
        (json.dumps(VAD | {"threshold": 1, "prefix_padding_ms": 0, "silence_duration_ms": 60000}), {}),
        (None, VAD),
        (None, VAD | {"threshold": "0.5", "prefix_padding_ms": "300", "silence_duration_ms": "200"}),
    ],
)
def test_strategies_of_the_contract_are_accepted(value: str | None, parts: Mapping[str, str]) -> None:
    check_chunking_strategy(value, parts)


@pytest.mark.parametrize(
    ("value", "parts", "message"),
    [
        ("", {}, "give 'auto'"),
        ("server_vad", {}, "'server_vad': give 'auto', or an object with type 'server_vad'"),
        ("[]", {}, "give 'auto'"),
        ("null", {}, "give 'auto'"),
        ("{}", {}, r"\[type\] 'None'"),
        ("[" * 60_000, {}, "give 'auto'"),
        ('{"type": "server_vad", "threshold": ' + "9" * 5000 + "}", {}, "give 'auto'"),
        ('{"type": "semantic_vad"}', {}, r"\[type\] 'semantic_vad'"),
        ('{"type": ["server_vad"]}', {}, r"\[type\] list"),
        ('{"type": "auto", "threshold": 0.5}', {}, r"\[type\] 'auto'"),
        ('{"type": "server_vad", "speed": 1}', {}, r"\['speed'\]: no such field"),
        ('{"type": "server_vad", "threshold": NaN}', {}, r"\[threshold\] 'nan': give a number from 0 to 1"),
        ('{"type": "server_vad", "threshold": Infinity}', {}, "from 0 to 1"),
        ('{"type": "server_vad", "threshold": 1.1}', {}, "from 0 to 1"),
        ('{"type": "server_vad", "threshold": true}', {}, "'True'"),
        ('{"type": "server_vad", "threshold": "0.5"}', {}, "'0.5'"),
        ('{"type": "server_vad", "threshold": {"a": 1}}', {}, "dict"),
        ('{"type": "server_vad", "prefix_padding_ms": -1}', {}, "whole number from 0 to 60000"),
        ('{"type": "server_vad", "silence_duration_ms": 0.5}', {}, "whole number"),
        ('{"type": "server_vad", "silence_duration_ms": null}', {}, "'None'"),
        (None, {"threshold": "0.5"}, r"\[type\] 'None'"),
        (None, {"type": "vad"}, "'vad'"),
        (None, VAD | {"threshold": "loud"}, "'loud'"),
        (None, VAD | {"prefix_padding_ms": "60001"}, "60000"),
        (None, VAD | {"": "1"}, "no such field"),
        ("auto", VAD, "cannot be combined"),
    ],
)
def test_other_strategies_are_refused(value: str | None, parts: Mapping[str, str], message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        check_chunking_strategy(value, parts)
    assert (caught.value.status, caught.value.param) == (400, "chunking_strategy")
    assert len(caught.value.message) < 500
