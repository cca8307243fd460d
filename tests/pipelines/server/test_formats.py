from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, Translation, TranslationVerbose

from model.languages import LANGUAGES
from pipelines.server.formats import (
    PROBLEM_HEADER,
    UNKNOWN_LANGUAGE,
    Body,
    encode_json,
    header_text,
    render,
)
from pipelines.server.request import RESPONSE_FORMATS
from tests.support.answered_rows import TEXTS, request_of, row_of, token_ids
from tests.support.openai_answers import Cue, parse_answer, parse_srt, parse_vtt
from transforms.core.types import Failure, Segment, Word

ROW = row_of(*TEXTS)
SILENCE = row_of(language=None)
TRUNCATED = Failure("id0", "a.wav", "decode", "truncated", "cut short; 8.47 s were transcribed")
OTHER_LANGUAGE = Failure("id0", "a.wav", "transcribe", "other_language", "seconds 0 to 2 are in 'fr'")


def rendered(row: dict[str, Any] = ROW, *failures: Failure, **fields: Any) -> Body:  # noqa: ANN401
    return render(row, failures, request_of(**fields), token_ids)


def answer(*args: Any, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = json.loads(rendered(*args, **fields).content)
    return found


def test_json() -> None:
    body = rendered()
    assert body.content_type == "application/json"
    parsed = parse_answer(Transcription, body.content)
    assert parsed.text == ROW["text"]
    assert json.loads(body.content) == {
        "text": "Grüße, 世界. Second \u2028 one.",
        "languages": [{"code": "de"}],
        "usage": {"type": "duration", "seconds": 9},
    }


@pytest.mark.parametrize(
    ("duration_s", "seconds"), [(0.0, 0), (0.02, 1), (8.47, 9), (9.0, 9), (9.000_062_5, 10)]
)
def test_started_seconds_are_counted(duration_s: float, seconds: int) -> None:
    for response_format in ("json", "verbose_json"):
        usage = answer(row_of(duration_s=duration_s), response_format=response_format)["usage"]
        assert usage == {"type": "duration", "seconds": seconds}


def test_verbose_json() -> None:
    body = rendered(response_format="verbose_json", words=True)
    parsed = parse_answer(TranscriptionVerbose, body.content)
    assert body.content_type == "application/json"
    assert (parsed.language, parsed.duration, parsed.text) == ("german", 8.47, ROW["text"])
    assert parsed.segments is not None
    assert [segment.text for segment in parsed.segments] == list(TEXTS)
    assert json.loads(body.content)["task"] == "transcribe"


def test_segment_of_verbose_json() -> None:
    assert answer(response_format="verbose_json")["segments"][1] == {
        "id": 1,
        "seek": 200,
        "start": 2.0,
        "end": 3.5,
        "text": TEXTS[1],
        "tokens": token_ids(TEXTS[1]),
        "temperature": 0.2,
        "avg_logprob": -0.25,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.1,
    }


def test_words_have_no_leading_space() -> None:
    words = answer(response_format="verbose_json", words=True)["words"]
    assert words[:2] == [
        {"word": "Grüße,", "start": 0.0, "end": 0.1},
        {"word": "世界.", "start": 0.1, "end": 0.2},
    ]
    assert [word["word"] for word in words] == ROW["text"].split()


@pytest.mark.parametrize(
    ("words", "segments", "present"),
    [
        (False, True, {"segments"}),
        (True, False, {"words"}),
        (True, True, {"segments", "words"}),
        (False, False, set()),
    ],
)
def test_granularities(words: bool, segments: bool, present: set[str]) -> None:
    found = answer(response_format="verbose_json", words=words, segments=segments)
    assert {"segments", "words"} & set(found) == present
    assert set(answer(words=words, segments=segments)) == {"text", "languages", "usage"}


def test_translation() -> None:
    body = rendered(task="translate")
    assert parse_answer(Translation, body.content).text == ROW["text"]
    assert set(json.loads(body.content)) == {"text", "usage"}


def test_verbose_translation_is_english_and_has_no_words() -> None:
    body = rendered(task="translate", language="de", response_format="verbose_json", words=True)
    parsed = parse_answer(TranslationVerbose, body.content)
    assert parsed.language == "english"
    assert parsed.segments is not None
    assert len(parsed.segments) == 2
    found = json.loads(body.content)
    assert found["task"] == "translate"
    assert "words" not in found


def test_text_is_that_of_the_row_and_not_json() -> None:
    body = rendered(response_format="text")
    assert body.content.decode() == ROW["text"]
    assert body.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("name", "parse"), [("srt", parse_srt), ("vtt", parse_vtt)])
def test_subtitles(name: str, parse: Any) -> None:  # noqa: ANN401
    body = rendered(response_format=name)
    assert body.content_type == "text/plain; charset=utf-8"
    assert parse(body.content.decode()) == [Cue(0, 1500, "Grüße, 世界."), Cue(2000, 3500, "Second one.")]


def test_silence_is_an_empty_text() -> None:
    contents = {name: rendered(SILENCE, response_format=name).content for name in RESPONSE_FORMATS}
    assert contents["text"] == b""
    assert contents["srt"] == b""
    assert contents["vtt"] == b"WEBVTT\n\n"
    short = parse_answer(Transcription, contents["json"])
    assert (short.text, short.languages) == ("", [])
    verbose = parse_answer(TranscriptionVerbose, contents["verbose_json"])
    assert (verbose.text, verbose.segments, verbose.language) == ("", [], UNKNOWN_LANGUAGE)


def test_silence_has_the_language_of_the_request() -> None:
    assert answer(SILENCE, language="fr")["languages"] == [{"code": "fr"}]
    assert answer(SILENCE, language="fr", response_format="verbose_json")["language"] == "french"
    assert answer(SILENCE, task="translate", response_format="verbose_json")["language"] == "english"


@pytest.mark.parametrize("code", LANGUAGES)
def test_languages_are_english_names(code: str) -> None:
    name = answer(row_of(language=code), response_format="verbose_json")["language"]
    assert name == LANGUAGES[code]


def test_problem_is_in_the_answer() -> None:
    damaged = row_of(*TEXTS, problem="2 damaged packets were skipped", truncated=True)
    for response_format in ("json", "verbose_json"):
        found = answer(damaged, TRUNCATED, OTHER_LANGUAGE, response_format=response_format)
        assert found["problem"] == "2 damaged packets were skipped; seconds 0 to 2 are in 'fr'"
        assert "problem" not in answer(response_format=response_format)


def test_truncation_without_a_problem_is_its_failure() -> None:
    assert answer(row_of(truncated=True), TRUNCATED)["problem"] == TRUNCATED.message


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_problem_is_in_a_header_of_text_formats(response_format: str) -> None:
    damaged = row_of(*TEXTS, problem="cut\r\nset-cookie: a=1 \u2013 世")
    body = rendered(damaged, response_format=response_format)
    assert body.headers == {PROBLEM_HEADER: "cut set-cookie: a=1 \\u2013 \\u4e16"}
    assert b"cut" not in body.content
    assert rendered(response_format=response_format).headers == {}


def test_header_is_short_and_printable() -> None:
    text = header_text("".join(map(chr, range(0x100))) + "\u2028\ud800" + "x" * 5000)
    assert len(text) == 1000
    assert text.isascii()
    assert text.isprintable()


def test_scores_that_are_not_finite_are_numbers() -> None:
    segment = Segment(0.0, 1.0, " a", -math.inf, math.nan, math.inf, math.nan, "de")
    body = rendered(row_of(segments=(segment,), text="a"), response_format="verbose_json")
    parsed = parse_answer(TranscriptionVerbose, body.content)
    assert parsed.segments is not None
    (found,) = parsed.segments
    assert found.avg_logprob < -1  # OpenAI: below -1 the log probabilities failed
    assert (found.no_speech_prob, found.compression_ratio, found.temperature) == (0.0, 0.0, 0.0)


def test_integers_of_a_row_are_floats_in_the_answer() -> None:
    segment = Segment(0, 1, " a", 0, 0, 1, 0, "de", words=(Word(0, 1, " a", 1),))
    body = rendered(row_of(segments=(segment,), duration_s=1), response_format="verbose_json", words=True)
    assert b'"start":0.0,"end":1.0' in body.content
    assert b'"duration":1.0' in body.content


@pytest.mark.parametrize("response_format", RESPONSE_FORMATS)
def test_text_that_utf8_cannot_encode_is_answered(response_format: str) -> None:
    row = {**row_of(" a\udc80b"), "text": "a\ud800b"}  # the first is encoded by the row, the second is not
    failure = replace(OTHER_LANGUAGE, message="the file a\udc80.wav")
    body = render(row, [failure], request_of(response_format, words=True), token_ids)
    text = body.content.decode("utf-8")
    assert "a?b" in text or "a\\udc80b" in text
    if body.content_type == "application/json":
        assert json.loads(text)["problem"] == "the file a\\udc80.wav"


def test_json_is_one_line_in_utf8() -> None:
    text = "a\n\r\u2028\u2029\x85\x7f\x0c世\U0001f600\x00"
    encoded = encode_json({"text": text})
    assert json.loads(encoded) == {"text": text}
    assert len(encoded.decode("utf-8").splitlines()) == 1
    assert "世\U0001f600" in encoded.decode("utf-8")


def test_json_refuses_numbers_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"duration": math.nan})
