"""The official Python client: formats, granularities, streams and both endpoints, parsed strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, Translation, TranslationVerbose
from pydantic import BaseModel

from tests.support import tone_backend
from tests.support.openai_answers import events_of, parse_answer, parse_srt, parse_vtt
from tests.support.server_backends import text_of

# The client has marked its translations as deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
TEXT_OF_TALK = text_of(5)
CONTENT_TYPES = {"json": JSON, "verbose_json": JSON, "text": TEXT, "srt": TEXT, "vtt": TEXT}
TRANSCRIPTION_KINDS = {"json": Transcription, "verbose_json": TranscriptionVerbose}
TRANSLATION_KINDS = {"json": Translation, "verbose_json": TranslationVerbose}
NOT_IN_THE_CLIENT = {"task", "usage", "words"}
"""Properties of OpenAI's answers that some of the client's types do not have."""

Granularities = list[Literal["word", "segment"]] | None
GRANULARITIES: list[Granularities] = [None, ["word"], ["segment"], ["word", "segment"]]


def endpoint_of(client: openai.OpenAI, task: str) -> Any:  # noqa: ANN401  # resources of two classes
    return client.audio.translations if task == "translate" else client.audio.transcriptions


def given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def models_in(value: object) -> list[BaseModel]:
    if isinstance(value, BaseModel):
        return [value, *models_in(list(dict(value).values()))]
    return [model for one in value for model in models_in(one)] if isinstance(value, list) else []


def check_complete(answer: BaseModel) -> None:
    """Every property has a field of the client's types, and is not of a wrong type."""
    for model in models_in(answer):
        assert set(model.model_extra or {}) <= NOT_IN_THE_CLIENT


@pytest.mark.parametrize("granularities", GRANULARITIES, ids=str)
@pytest.mark.parametrize("response_format", CONTENT_TYPES)
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_formats(
    client: openai.OpenAI, talk_file: Path, task: str, response_format: str, granularities: Granularities
) -> None:
    can_have_words = response_format == "verbose_json" and task == "transcribe"
    extra = {"timestamp_granularities": granularities} if task == "transcribe" else {}
    if task == "translate" and granularities:  # the client has no such argument there
        extra = {"extra_body": {"timestamp_granularities": granularities}}
    create = endpoint_of(client, task).with_raw_response.create
    arguments = given(file=talk_file, model="whisper-1", response_format=response_format, **extra)
    if granularities and "word" in granularities and not can_have_words:
        with pytest.raises(openai.BadRequestError, match="timestamp_granularities 'word'"):
            create(**arguments)
        return
    answer = create(**arguments)
    assert answer.headers["content-type"] == CONTENT_TYPES[response_format]
    parsed = answer.parse()
    if response_format in ("text", "srt", "vtt"):
        assert parsed == answer.text
        texts = {
            "text": lambda: parsed,
            "srt": lambda: " ".join(cue.text for cue in parse_srt(parsed)),
            "vtt": lambda: " ".join(cue.text for cue in parse_vtt(parsed)),
        }
        assert texts[response_format]() == TEXT_OF_TALK
        return
    kinds: Any = TRANSLATION_KINDS if task == "translate" else TRANSCRIPTION_KINDS
    strict = parse_answer(kinds[response_format], answer.content)
    assert strict.to_dict() == parsed.to_dict() == json.loads(answer.content)
    assert parsed.text == TEXT_OF_TALK
    check_complete(parsed)


@pytest.mark.parametrize("granularities", GRANULARITIES, ids=str)
def test_granularities(client: openai.OpenAI, talk_file: Path, granularities: Granularities) -> None:
    answer = client.audio.transcriptions.create(
        file=talk_file,
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=granularities or openai.omit,
    )
    wants_words = granularities is not None and "word" in granularities
    wants_segments = granularities is None or "segment" in granularities
    assert (answer.words is not None) == wants_words
    assert (answer.segments is not None) == wants_segments
    if answer.words:
        assert [(word.word, word.start, word.end) for word in answer.words] == [
            (f"en{second}", second, second + 0.75) for second in range(5)
        ]
    if answer.segments:
        assert [(one.id, one.seek, one.start, one.end, one.text) for one in answer.segments] == [
            (second, 100 * second, second, second + (0.75 if wants_words else 1), f" en{second}")
            for second in range(5)  # with words a segment lasts as long as they do
        ]
        assert all(one.tokens == list(one.text.encode()) for one in answer.segments)
    assert (answer.language, answer.duration) == ("english", 5.0)
    assert answer.usage is not None
    assert answer.usage.seconds == 5


def test_translation_is_in_english(client: openai.OpenAI, talk_file: Path) -> None:
    answer = client.audio.translations.create(
        file=talk_file, model="whisper-1", response_format="verbose_json", extra_body={"language": "fr"}
    )
    assert answer.language == "english"
    assert answer.segments is not None
    assert len(answer.segments) == 5
    assert "words" not in answer.to_dict()


@pytest.mark.parametrize("language", [None, "fr"])
@pytest.mark.parametrize("granularities", GRANULARITIES, ids=str)
@pytest.mark.parametrize("response_format", ["json", "text", "verbose_json"])
def test_streams(
    client: openai.OpenAI,
    talk_file: Path,
    response_format: Literal["json", "text", "verbose_json"],
    granularities: Granularities,
    language: str | None,
) -> None:
    arguments: Any = given(
        file=talk_file,
        model="whisper-1",
        response_format=response_format,
        timestamp_granularities=granularities,
        language=language,
        stream=True,
    )
    has_words = granularities is not None and "word" in granularities
    if has_words and response_format != "verbose_json":
        with pytest.raises(openai.BadRequestError):
            client.audio.transcriptions.create(**arguments)
        return
    with client.audio.transcriptions.create(**arguments) as stream:
        events = list(stream)
    *early, done = events
    text = text_of(5, language=language or "en")
    assert done.type == "transcript.text.done"
    assert done.text == "".join(event.delta for event in early if event.type == "transcript.text.delta")
    assert done.text == text
    check_usage(done)
    segments = [event for event in early if event.type == "transcript.text.segment"]
    timed = done.to_dict()
    if response_format == "verbose_json":
        assert [float(segment.id) for segment in segments] == [0, 1, 2, 3, 4]
        assert ("words" in timed, "segments" in timed) == (has_words, granularities != ["word"])
        assert " ".join(cue.text for cue in parse_srt(timed["srt"])) == text
        assert " ".join(cue.text for cue in parse_vtt(timed["vtt"])) == text
    else:
        assert segments == []
        assert set(timed) == {"type", "text", "usage"}


def check_usage(done: Any) -> None:  # noqa: ANN401  # an event
    assert done.usage.type == "tokens"
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize("response_format", ["json", "text", "verbose_json"])
def test_streams_have_only_events_of_openai(
    client: openai.OpenAI, talk_file: Path, task: str, response_format: str
) -> None:
    """The client's translations have no `stream`, so the field is added; all events are parsed strictly."""
    answer = endpoint_of(client, task).with_raw_response.create(
        file=talk_file, model="whisper-1", response_format=response_format, extra_body={"stream": "true"}
    )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = events_of(answer.content)
    assert events[-1]["text"] == TEXT_OF_TALK


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_subtitles_cannot_be_streamed(
    client: openai.OpenAI, talk_file: Path, response_format: Literal["srt", "vtt"]
) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be streamed") as caught:
        client.audio.transcriptions.create(
            file=talk_file, model="whisper-1", response_format=response_format, stream=True
        )
    assert caught.value.param == "response_format"


def test_files_of_every_kind(client: openai.OpenAI, talk_file: Path) -> None:
    content = talk_file.read_bytes()
    with talk_file.open("rb") as file:
        files: list[Any] = [
            talk_file,
            content,  # sent with the name "upload", as application/octet-stream
            file,
            ("talk.wav", content),
            ("talk.wav", content, "audio/wav"),
            ("talk.wav", content, "audio/wav", {"X-Part": "1"}),
            ("../../etc/passwd", content),
            ("Grüße \u2028 世界.wav", content),
        ]
        texts = [client.audio.transcriptions.create(file=one, model="whisper-1").text for one in files]
    assert texts == [TEXT_OF_TALK] * len(files)


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"keywords": ["Ada", "Lovelace, Countess"]}, {"hotwords": "Ada, Lovelace, Countess"}),
    ({"extra_body": {"hotwords": "Ada"}}, {"hotwords": "Ada"}),
    ({"languages": ["fr", "de"]}, {"language": "de"}),
    ({"language": "fr"}, {"language": "fr"}),
    ({"language": "French"}, {"language": "fr"}),
    ({"language": "fr-CA"}, {"language": "fr"}),
    ({"language": ""}, {"language": None}),
    ({"language": "auto"}, {"language": None}),
    ({"chunking_strategy": "auto"}, {}),
    ({"chunking_strategy": {"type": "server_vad"}}, {}),
    (
        {
            "chunking_strategy": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
            }
        },
        {},
    ),
    ({"temperature": 0}, {"temperature": 0.0}),
    ({"temperature": 0.4}, {"temperature": 0.4}),
    ({"temperature": 1.0}, {"temperature": 1.0}),
    ({"prompt": "Ada Lovelace said:"}, {"prompt": "Ada Lovelace said:"}),
    ({"prompt": ""}, {"prompt": ""}),
    ({"stream": False}, {}),
    ({"extra_headers": {"x-request-id": "mine"}, "extra_query": {"a": "b"}}, {}),
]
"""Arguments of the client, and what the model is asked for."""


@pytest.mark.parametrize(("fields", "asked"), FIELDS, ids=str)
def test_fields_reach_the_model(
    client: openai.OpenAI, talk_file: Path, fields: dict[str, Any], asked: dict[str, Any]
) -> None:
    answer = client.audio.transcriptions.create(file=talk_file, model="whisper-1", **fields)
    assert isinstance(answer, Transcription)
    language = asked.get("language") or ("de" if "languages" in fields else "en")
    assert answer.text == text_of(5, language=language)
    assert answer.languages is not None
    assert [one.code for one in answer.languages] == [language]
    requested = tone_backend.REQUESTS[-1]
    assert {name: getattr(requested, name) for name in asked} == asked


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"language": "klingon"}, "language"),
    ({"language": "en", "languages": ["de"]}, "languages"),
    ({"temperature": 1.5}, "temperature"),
    ({"response_format": "diarized_json"}, "response_format"),
    ({"response_format": "xml"}, "response_format"),
    ({"include": ["logprobs"]}, "include"),
    ({"known_speaker_names": ["Ada"]}, "known_speaker_names"),
    ({"known_speaker_references": ["data:audio/wav;base64,AA=="]}, "known_speaker_references"),
    ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
    ({"chunking_strategy": {"type": "server_vad", "threshold": 3}}, "chunking_strategy"),
    ({"chunking_strategy": {"type": "none"}}, "chunking_strategy"),
    ({"extra_body": {"url": "http://127.0.0.1/"}}, "url"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=str)
def test_bad_fields_are_bad_requests(
    client: openai.OpenAI, talk_file: Path, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=talk_file, model="whisper-1", **fields)
    check_error(caught.value, "invalid_request_error")
    assert caught.value.param == param


def test_what_is_not_audio_is_a_bad_request_in_the_words_of_openai(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=("a.mp3", b"<html>" * 100), model="whisper-1")
    check_error(caught.value, "invalid_request_error")
    formats = "['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']"
    message = f"Invalid file format. Supported formats: {formats}"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"] == message


def test_other_models_are_not_found(client: openai.OpenAI, talk_file: Path) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=talk_file, model="gpt-4o-transcribe")
    check_error(caught.value, "invalid_request_error")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_other_paths_are_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(input="a", model="tts-1", voice="alloy")
    check_error(caught.value, "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")


def check_error(error: openai.APIStatusError, kind: str) -> None:
    assert error.type == kind
    assert error.request_id
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert len(error.body["message"]) > 10


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert model.id == "openai/whisper-tones"
    assert client.models.retrieve("openai/whisper-tones") == model
    assert client.models.retrieve("whisper-1") == model
    assert model.object in get_args(type(model).model_fields["object"].annotation)
    assert model.created > 1_700_000_000
