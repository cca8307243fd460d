from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.languages import LANGUAGES
from pipelines.server.errors import ApiError
from pipelines.server.form import GRANULARITIES, KNOWN_FIELDS, FormRules, model_aliases, parse_form
from pipelines.server.request import RESPONSE_FORMATS, STREAMED_FORMATS, TranscriptionRequest
from tests.support.bad_forms import REFUSED_FIELDS

MODEL = "openai/whisper-base"
CODES = tuple(code for code in LANGUAGES if code != "yue")  # as whisper-base has them
RULES = FormRules(model=MODEL, aliases=model_aliases(MODEL, ["house-model"]), languages=CODES)
ENGLISH = FormRules(model=f"{MODEL}.en", aliases=model_aliases(f"{MODEL}.en"), languages=("en",))
VERBOSE = ("response_format", "verbose_json")
Pairs = list[tuple[str, str]]


def parse(
    *fields: tuple[str, str], rules: FormRules = RULES, task: str = "transcribe"
) -> TranscriptionRequest:
    return parse_form(fields, rules, task).request


def test_a_language_that_only_the_model_has() -> None:
    own = FormRules(model=MODEL, aliases=frozenset(), languages=("de", "hak", "xyz"))
    for named, code in (("XYZ", "xyz"), ("hak", "hak"), ("German", "de")):
        assert parse(("language", named), rules=own).language == code
    with pytest.raises(ApiError, match="no such language"):
        parse(("language", "abc"), rules=own)


def test_empty_form_is_the_default() -> None:
    assert asdict(parse()) == {
        "model": MODEL,
        "task": "transcribe",
        "language": None,
        "languages": (),
        "prompt": None,
        "hotwords": None,
        "clip_timestamps": (),
        "temperature": 0.0,
        "response_format": "json",
        "words": False,
        "segments": False,
        "stream": False,
        "url": None,
    }


def test_a_model_of_one_other_language_translates() -> None:
    russian = replace(RULES, languages=("ru",))
    assert parse(rules=russian, task="translate").language == "ru"


def test_clips_are_one_text_or_a_list() -> None:
    assert parse(("clip_timestamps", "0,12.5,60")).clip_timestamps == (0.0, 12.5, 60.0)
    times = [("clip_timestamps[]", time) for time in ("0", "12.5", "60")]
    assert parse(*times).clip_timestamps == (0.0, 12.5, 60.0)
    assert parse(("clip_timestamps", " ")).clip_timestamps == ()


@pytest.mark.parametrize("value", ["12.5,0", "x", "nan", "-1", "0,1,0.5", "0,,1"])
def test_invalid_clips_are_refused(value: str) -> None:
    with pytest.raises(ApiError, match="clip_timestamps: ") as caught:
        parse(("clip_timestamps", value))
    assert (caught.value.status, caught.value.param) == (400, "clip_timestamps")


@pytest.mark.parametrize("name", [MODEL, "whisper-1", "base", "house-model", "", " whisper-1 "])
def test_aliases_are_the_model(name: str) -> None:
    assert parse(("model", name)).model == MODEL


@pytest.mark.parametrize("name", ["gpt-4o-transcribe", "openai/whisper-tiny", "tiny", "WHISPER-1", "a/b\n"])
def test_other_model_is_not_found(name: str) -> None:
    with pytest.raises(ApiError, match="does not exist") as caught:
        parse(("model", name))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert MODEL in caught.value.message
    assert "'whisper-1'" in caught.value.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("German", "de"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        (" fr ", "fr"),
        ("auto", None),
        ("Auto", None),
        ("", None),
    ],
)
def test_language_is_a_code_name_tag_or_detected(value: str, code: str | None) -> None:
    assert parse(("language", value)).language == code


def test_default_language_is_for_requests_that_name_none() -> None:
    rules = replace(RULES, default_language="de")
    assert parse(rules=rules).language == "de"
    assert parse(("language", ""), rules=rules).language == "de"
    assert parse(("language", "fr"), rules=rules).language == "fr"
    assert parse(("language", "auto"), rules=rules).language is None
    restricted = parse(("languages[]", "fr"), ("languages[]", "it"), rules=rules)
    assert (restricted.language, restricted.languages) == (None, ("fr", "it"))


@pytest.mark.parametrize("name", ["languages[]", "languages", "languages[0]"])
def test_languages_are_codes_each_once(name: str) -> None:
    fields = [(name, value) for value in ("de", "French", "de-AT", "")]
    assert parse(*fields).languages == ("de", "fr")


def test_english_only_model_has_one_language_and_one_task() -> None:
    assert parse(rules=ENGLISH).language == "en"
    assert parse(("language", "auto"), rules=ENGLISH).language == "en"
    assert parse(("language", "english"), rules=ENGLISH).language == "en"
    with pytest.raises(ApiError, match=r"language 'de': openai/whisper-base\.en knows only 'en'"):
        parse(("language", "de"), rules=ENGLISH)
    with pytest.raises(ApiError, match="knows only 'en'"):
        parse(("languages[]", "de"), rules=ENGLISH)
    with pytest.raises(ApiError, match=r"English only.*/v1/audio/transcriptions") as caught:
        parse(rules=ENGLISH, task="translate")
    assert caught.value.status == 400


def test_keywords_are_joined() -> None:
    assert parse(("keywords[]", "Ada"), ("keywords[]", " Babbage "), ("keywords[]", "")).hotwords == (
        "Ada, Babbage"
    )
    assert parse(("hotwords", "Ada Lovelace")).hotwords == "Ada Lovelace"
    assert parse(("keywords", " ")).hotwords is None


def test_prompt_is_kept_as_it_is() -> None:
    assert parse(("prompt", " Grüße,\n")).prompt == " Grüße,\n"
    assert parse(("prompt", "")).prompt is None


@pytest.mark.parametrize(
    ("value", "number"), [("0", 0), ("1", 1), ("0.2", 0.2), (".5", 0.5), ("1e-1", 0.1), (" 1.0 ", 1)]
)
def test_temperature_is_a_number(value: str, number: float) -> None:
    assert parse(("temperature", value)).temperature == number


def test_negative_zero_is_zero() -> None:
    assert str(parse(("temperature", "-0")).temperature) == "0.0"


@pytest.mark.parametrize(
    ("granularities", "words", "segments"),
    [((), False, True), (("segment",), False, True), (("word",), True, False), (GRANULARITIES, True, True)],
)
def test_granularities_of_verbose_json(granularities: tuple[str, ...], words: bool, segments: bool) -> None:
    request = parse(VERBOSE, *[("timestamp_granularities[]", value) for value in granularities])
    assert (request.words, request.segments) == (words, segments)


@pytest.mark.parametrize("value", ["json", "text", "srt", "vtt"])
def test_other_formats_have_no_granularities(value: str) -> None:
    fields = [("response_format", value), ("timestamp_granularities[]", "segment")]
    assert (parse(*fields).words, parse(*fields).segments) == (False, False)
    with pytest.raises(ApiError, match=rf"'word' needs response_format 'verbose_json', not '{value}'"):
        parse(*fields, ("timestamp_granularities[]", "word"))


@pytest.mark.parametrize(
    ("value", "stream"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_stream_is_a_boolean(value: str, stream: bool) -> None:
    assert parse(("stream", value)).stream is stream


@pytest.mark.parametrize("value", RESPONSE_FORMATS)
def test_which_formats_are_streamed(value: str) -> None:
    fields = [("response_format", value), ("stream", "true")]
    if value in STREAMED_FORMATS:
        assert parse(*fields).stream
    else:
        with pytest.raises(ApiError, match="cannot be streamed; give one of 'json', 'text', 'verbose_json'"):
            parse(*fields)


def test_translation_has_the_fields_of_a_transcription() -> None:
    request = parse(
        ("model", "whisper-1"),
        ("language", "de"),
        ("prompt", "p"),
        ("temperature", "0.4"),
        ("keywords[]", "Ada"),
        ("stream", "true"),
        VERBOSE,
        task="translate",
    )
    assert (request.task, request.language, request.hotwords, request.stream) == (
        "translate",
        "de",
        "Ada",
        True,
    )
    assert (request.words, request.segments) == (False, True)


def test_url_stands_for_the_file_where_allowed() -> None:
    rules = replace(RULES, allow_urls=True)
    url = "https://example.org/talk.mp3?sig=1"
    assert parse_form([("url", url)], rules, "transcribe", has_file=False).request.url == url
    for fields, has_file, message in (
        ([("url", url)], True, "cannot be combined"),
        ([], False, "no part 'file' or url"),
        ([("url", "file:///etc/passwd")], False, "begins with http"),
        ([("url", "https://")], False, "begins with http"),
        ([("url", "http://[::1")], False, "begins with http"),
        ([("url", "http://example.org/\r\nX: y")], False, "begins with http"),
        ([("url", "http://example.org/" + "x" * 9000)], False, "begins with http"),
    ):
        with pytest.raises(ApiError, match=message):
            parse_form(fields, rules, "transcribe", has_file=has_file)
    with pytest.raises(ApiError, match="--allow_urls"):
        parse_form([("url", url)], RULES, "transcribe", has_file=False)


def test_unknown_fields_are_ignored_and_reported() -> None:
    fields = [("user", "u"), ("vad_filter", "true"), ("metadata[a]", "1"), ("user", "v"), ("ü\r\nX: y", "")]
    parsed = parse_form(fields, RULES, "transcribe")
    assert parsed.request == parse()
    assert parsed.ignored == ("user", "vad_filter", "metadata[a]", "ü\r\nX: y")
    assert parsed.headers() == {"x-ignored-fields": "user, vad_filter, metadata[a]"}
    assert parse_form([("model", MODEL), ("chunking_strategy", "auto")], RULES, "transcribe").headers() == {}


def test_same_value_twice_is_one_value() -> None:
    assert parse(("language", "de"), ("language", "de")).language == "de"


@pytest.mark.parametrize(
    ("fields", "param"), [row[1:] for row in REFUSED_FIELDS], ids=[row[0] for row in REFUSED_FIELDS]
)
def test_invalid_fields_are_a_400_that_names_them(fields: Pairs, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(*fields)
    error = caught.value
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)
    assert error.message.startswith((param, "language and", "response_format"))


def test_messages_name_the_value_and_the_allowed_ones() -> None:
    for field, value, allowed in (
        ("language", "klingon", "'en', 'zh', 'de'"),
        ("response_format", "xml", "'json', 'text', 'srt', 'verbose_json', 'vtt'"),
        ("temperature", "2", "from 0 to 1"),
        ("stream", "yes", "'true' or 'false'"),
        ("timestamp_granularities[]", "words", "'word', 'segment'"),
    ):
        with pytest.raises(ApiError, match=value) as caught:
            parse((field, value))
        assert allowed in caught.value.message
    with pytest.raises(ApiError, match="does not recognise speakers yet"):
        parse(("response_format", "diarized_json"))


def test_translation_has_neither_words_nor_speakers() -> None:
    with pytest.raises(ApiError, match="no times of words"):
        parse(VERBOSE, ("timestamp_granularities[]", "word"), task="translate")
    with pytest.raises(ApiError, match="no such format"):
        parse(("response_format", "diarized_json"), task="translate")


NAMES = st.sampled_from([*sorted(KNOWN_FIELDS), "languages[]", "keywords[]", "chunking_strategy[type]", "x["])
VALUES: Any = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["auto", "en", "0", "1", "true", "word", "verbose_json", "server_vad", "{}", "nan"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES | st.text(max_size=10), VALUES), max_size=6), st.booleans())
def test_any_fields_are_a_request_or_an_error_of_the_client(fields: Pairs, translate: bool) -> None:
    error = request = None
    try:
        request = parse(*fields, task="translate" if translate else "transcribe")
    except ApiError as caught:
        error = caught
    assert error is None or error.status in (400, 404)
    assert error is None or error.response().body  # it can be encoded
    assert request is None or 0 <= request.temperature <= 1
    assert request is None or request.language in (None, *CODES)


def test_a_model_has_openais_name_its_short_name_and_the_part_behind_the_slash() -> None:
    assert model_aliases(MODEL, ["house-model"]) == {"whisper-1", "base", "whisper-base", "house-model"}
    assert model_aliases("/models/own") == {"whisper-1", "own"}
    assert model_aliases("own") == {"whisper-1"}
