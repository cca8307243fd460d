"""Options of the server that are defaults of the requests, and what its model cannot do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.server.server import Server
from tests.support import tone_backend
from tests.support.openai_answers import events_of
from tests.support.raw_http import TRANSLATIONS, form, get, post, transcribe, wait_until
from tests.support.server_backends import WORDS, talk, text_of

TALK = talk(3)


@pytest.fixture(scope="module")
def french() -> Iterator[Server]:
    """A server for French with names that are expected."""
    with Server(
        backend=WORDS,
        model="openai/whisper-tones",
        port=0,
        language="fr",
        hotwords="Ada",
        initial_prompt="Bonjour.",
        model_alias=("whisper-large",),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def english_only() -> Iterator[Server]:
    with Server(backend=WORDS, model="openai/whisper-tones.en", port=0) as server:
        yield server


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ([], "fr"),
        ([("language", "")], "fr"),
        ([("language", "de")], "de"),
        ([("language", "auto")], "en"),
        ([("languages[]", "de"), ("languages[]", "en")], "en"),
    ],
    ids=str,
)
def test_language(french: Server, fields: list[tuple[str, str]], language: str, stream: str) -> None:
    answer = post(french.port, form(TALK, [*fields, ("stream", stream)]))
    text = events_of(answer.body)[-1]["text"] if stream == "true" else answer.json["text"]
    assert text == text_of(3, language=language)


def test_prompt_and_hotwords(french: Server) -> None:
    transcribe(french.port, TALK)
    assert (tone_backend.REQUESTS[-1].prompt, tone_backend.REQUESTS[-1].hotwords) == ("Bonjour.", "Ada")
    post(french.port, form(TALK, [("prompt", "Salut."), ("keywords[]", "Byron"), ("keywords[]", "Ada")]))
    assert (tone_backend.REQUESTS[-1].prompt, tone_backend.REQUESTS[-1].hotwords) == ("Salut.", "Byron, Ada")


@pytest.mark.parametrize(
    "model", ["openai/whisper-tones", "whisper-1", "whisper-large", "whisper-tones", " whisper-1 ", ""]
)
def test_names_of_the_model(french: Server, model: str) -> None:
    assert transcribe(french.port, TALK, model=model).status == 200
    if model.strip():
        assert get(french.port, f"/v1/models/{model.strip()}").json["id"] == "openai/whisper-tones"


@pytest.mark.parametrize("model", ["whisper-base", "tones", "Whisper-1", "gpt-4o-transcribe", "../x"])
def test_other_models(french: Server, model: str) -> None:
    error = transcribe(french.port, TALK, model=model).error
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "'openai/whisper-tones', 'whisper-1'" in error["message"]


def test_english_only_model(english_only: Server) -> None:
    assert transcribe(english_only.port, TALK).json["text"] == text_of(3)
    assert transcribe(english_only.port, TALK, language="English").json["text"] == text_of(3)
    other = transcribe(english_only.port, TALK, language="fr")
    assert (other.error["code"], other.error["param"]) == ("unsupported_language", "language")
    translated = transcribe(english_only.port, TALK, path=TRANSLATIONS)
    assert translated.status == 400
    assert "cannot translate" in translated.error["message"]


def test_two_servers_in_one_process(french: Server, english_only: Server) -> None:
    before = count_of(english_only)
    assert transcribe(french.port, TALK).json["text"] == text_of(3, language="fr")
    assert transcribe(english_only.port, TALK).json["text"] == text_of(3)
    wait_until(lambda: count_of(english_only) == before + 1)  # it is counted after the answer


def count_of(server: Server) -> float:
    name = 'whisper_beam_requests_total{endpoint="/v1/audio/transcriptions",status="200"} '
    lines = get(server.port, "/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))
