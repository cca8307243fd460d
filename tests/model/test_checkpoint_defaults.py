"""The language and the task of a checkpoint's configs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from model.checkpoint_defaults import defaults_of
from model.config import CheckpointDefaults, DecodingConfig
from tests.model.test_sampling import EN, FR, NO_TIMES, SPECIAL, TRANSCRIBE, TRANSLATE


def defaults(**told: Any) -> CheckpointDefaults:  # noqa: ANN401  # of any field
    return defaults_of(SPECIAL, DecodingConfig(**told))


@pytest.mark.parametrize("language", ["fr", "<|fr|>", "French", "french"])
def test_a_language_by_token_code_or_name(language: str) -> None:
    assert defaults(language=language) == CheckpointDefaults("fr", None)


@pytest.mark.parametrize(
    ("forced", "language", "task"),
    [
        ((), None, None),
        ((FR, TRANSLATE), "fr", "translate"),
        ((None, TRANSCRIBE), None, "transcribe"),
        ((EN, TRANSCRIBE, NO_TIMES), "en", "transcribe"),
    ],
)
def test_forced_tokens(forced: tuple[int | None, ...], language: str | None, task: str | None) -> None:
    assert defaults(forced_ids=forced) == CheckpointDefaults(language, task)


def test_a_language_that_only_the_model_has() -> None:
    special = replace(SPECIAL, languages={**SPECIAL.languages, "xyz": EN + 90})
    for language in ("xyz", "<|xyz|>", "XYZ"):
        assert defaults_of(special, DecodingConfig(language=language)).language == "xyz"


def test_names_precede_forced_tokens() -> None:
    assert defaults(task="transcribe", forced_ids=(FR, TRANSLATE)) == CheckpointDefaults(None, "transcribe")


def test_english_only_models_have_no_choice() -> None:
    english = replace(SPECIAL, languages={}, is_multilingual=False)
    told = DecodingConfig(language="en", task="transcribe", forced_ids=(NO_TIMES,))
    assert defaults_of(english, told) == CheckpointDefaults()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"language": "de"}, "configured for the language 'de'"),
        ({"task": "diarize"}, "configured for the task 'diarize'"),
        ({"forced_ids": (3,)}, "has the token 3, which is not followed"),
    ],
)
def test_what_the_model_lacks_is_reported(
    told: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert defaults(**told) == CheckpointDefaults()
    assert message in caplog.text
