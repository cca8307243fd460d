"""Options of the calls of requests, and answers for their exceptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.inference import CancelledError, TranscriptionError
from pipelines.option_checks import OptionsError
from pipelines.options import RecordingOptions
from pipelines.server.transcriptions import call_options, error_body, to_api_error
from tests.support.answered_rows import request_of
from transforms.core.types import Failure

FAILURE = Failure("id", "talk.wav", "decode", "corrupt", "broken at 3 s", False, 1)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"task": "translate"}, {"task": "translate"}),
        ({"words": True}, {"word_timestamps": True}),
        ({"language": "fr"}, {"language": "fr", "languages": ()}),
        ({"languages": ("fr", "de")}, {"language": "auto", "languages": ("fr", "de")}),
        ({"prompt": "Names."}, {"initial_prompt": "Names."}),
        ({"hotwords": "Ada"}, {"hotwords": "Ada"}),
        ({"clip_timestamps": (1.0, 2.0)}, {"clip_timestamps": (1.0, 2.0)}),
        ({"temperature": 0.5}, {"temperature": (0.5,)}),
        ({"temperature": 0.0}, {}),
    ],
)
def test_options_of_a_request(fields: dict[str, Any], options: dict[str, Any]) -> None:
    expected = {"task": "transcribe", "word_timestamps": False} | options
    assert call_options(request_of(**fields), RecordingOptions()) == expected


def test_a_request_without_a_language_is_detected_though_the_server_has_one() -> None:
    french = RecordingOptions(language="French")
    assert call_options(request_of(), french)["language"] == "auto"
    assert call_options(request_of(language="de"), french)["language"] == "de"
    assert "language" not in call_options(request_of(), RecordingOptions(language="auto-per-window"))


def failed(*failures: Failure) -> TranscriptionError:
    return TranscriptionError(failures)


@pytest.mark.parametrize(
    ("error", "status", "message", "param", "code"),
    [
        (failed(FAILURE), 400, "The audio cannot be used: broken at 3 s.", "file", "corrupt"),
        (failed(replace(FAILURE, kind="not_audio")), 400, "Invalid file format.", "file", None),
        (failed(replace(FAILURE, stage="fetch", kind="empty")), 400, "cannot be used", "file", "empty"),
        (failed(replace(FAILURE, stage="fetch", kind="not_found")), 400, "cannot", "url", "not_found"),
        (failed(replace(FAILURE, stage="fetch", kind="no_room")), 503, "no disk space", None, "disk_full"),
        (failed(replace(FAILURE, kind="unexpected")), 500, "had an error", None, "internal_error"),
        (
            failed(replace(FAILURE, stage="transcribe", kind="model_error")),
            500,
            "had",
            None,
            "internal_error",
        ),
        (failed(FAILURE, replace(FAILURE, stage="merge")), 500, "had an error", None, "internal_error"),
        (failed(), 500, "had an error", None, "internal_error"),
        (OptionsError("--prompt: too long"), 400, "--prompt: too long", None, None),
        (CancelledError("cancelled"), 503, "is stopping", None, "shutting_down"),
        (KeyError("a bug"), 500, "had an error", None, "internal_error"),
    ],
)
def test_errors(error: Exception, status: int, message: str, param: str | None, code: str | None) -> None:
    answer = to_api_error(error)
    assert message in answer.message
    assert (answer.status, answer.param, answer.code) == (status, param, code)
    assert to_api_error(answer) is answer
    assert error_body(error) == answer.to_json()


def test_a_bug_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    to_api_error(KeyError("a bug"))
    (record,) = caplog.records
    assert record.exc_info
