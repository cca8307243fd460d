"""The text fields of a form, checked by OpenAI's contract: each error names the field and its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from model.interface import AUTO, TRANSLATE, code_among, code_of
from model.model_names import MODEL_ALIASES
from pipelines.server.chunking import check_chunking_strategy
from pipelines.server.errors import invalid_request, model_not_found, one_of, quoted
from pipelines.server.request import (
    JSON,
    RESPONSE_FORMATS,
    STREAMED_FORMATS,
    VERBOSE_JSON,
    TranscriptionRequest,
)
from transforms.core.clips import parse_clip_times

OPENAI_NAME = "whisper-1"
"""The name of the model that many clients have written into them."""

WORD, SEGMENT = "word", "segment"
GRANULARITIES = (WORD, SEGMENT)
DIARIZED_JSON = "diarized_json"
CHUNKING: Final = "chunking_strategy"
BOOLEANS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
SPEAKER_FIELDS = ("known_speaker_names", "known_speaker_references")
KNOWN_FIELDS = frozenset(
    {
        *("model", "language", "languages", "prompt", "keywords", "hotwords", "response_format", "url"),
        *(
            "clip_timestamps",
            "temperature",
            "timestamp_granularities",
            "stream",
            "include",
            CHUNKING,
            *SPEAKER_FIELDS,
        ),
    }
)
MAX_URL = 8192  # characters
IGNORED_HEADER = "x-ignored-fields"

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_ELEMENT = re.compile(r"\[[0-9]*\]$")  # of a list: `keywords[]`, or `keywords[0]`
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class FormRules:
    """What a server accepts.

    Attributes:
        model: name of the model that is served.
        aliases: further names that clients may give it.
        languages: codes of the languages that the model knows; only `en` for an English-only one.
        default_language: code for requests that name none; None to detect it.
        allow_urls: whether the field `url` may stand for the file.
    """

    model: str
    aliases: frozenset[str]
    languages: tuple[str, ...]
    default_language: str | None = None
    allow_urls: bool = False


@dataclass(frozen=True)
class ParsedForm:
    """The request of a form, and the names of the fields that have no meaning here."""

    request: TranscriptionRequest
    ignored: tuple[str, ...]

    def headers(self) -> dict[str, str]:
        """Returns a header of the answer with the ignored fields; empty if there are none.

        LiteLLM, Open WebUI and n8n add fields of their own: they are no reason to refuse a request.
        """
        names = [name for name in self.ignored if _HEADER_NAME.fullmatch(name)]
        return {IGNORED_HEADER: ", ".join(names)} if names else {}


def model_aliases(model: str, more: Iterable[str] = ()) -> frozenset[str]:
    """Returns the names that clients may give a model: OpenAI's, its short names, and `more`."""
    short = {name for name, hub_name in MODEL_ALIASES.items() if hub_name == model}
    # LiteLLM takes what is before the slash for the name of a provider.
    return frozenset({OPENAI_NAME, model.rpartition("/")[2], *short, *more} - {model, ""})


def parse_form(
    fields: Sequence[tuple[str, str]], rules: FormRules, task: str, *, has_file: bool = True
) -> ParsedForm:
    """Returns the request that the text fields of a form make.

    Args:
        fields: names and values in their order. A list is a repeated name, with or without `[]`.
        rules: the rules of the server.
        task: `transcribe` or `translate`, by the endpoint.
        has_file: whether the form has a file.

    Raises:
        ApiError: 400, or 404 for another model.
    """
    form = _Form(fields)
    model = _model(form, rules)
    if task == TRANSLATE and rules.languages == ("en",):
        message = f"{model} transcribes English only, it cannot translate: use /v1/audio/transcriptions."
        raise invalid_request(message, "model")
    _check_impossible(form)
    check_chunking_strategy(form.one(CHUNKING), form.parts(CHUNKING))
    language, languages = _languages(form, rules)
    response_format = _response_format(form, task)
    words, segments = _granularities(form, response_format, task)
    request = TranscriptionRequest(
        model=model,
        task=task,
        language=language,
        languages=languages,
        prompt=form.one("prompt") or None,
        hotwords=_hotwords(form),
        clip_timestamps=_clip_timestamps(form),
        temperature=_temperature(form),
        response_format=response_format,
        words=words,
        segments=segments,
        stream=_stream(form, response_format),
        url=_url(form, rules, has_file),
    )
    return ParsedForm(request, form.unknown())


class _Form:
    """Fields by name, without `[]`."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(_ELEMENT.sub("", name), []).append(value)

    def every(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str | None:
        values = dict.fromkeys(self.every(name))
        if len(values) > 1:
            message = f"{name} was given {len(self.every(name))} times, with different values: give one."
            raise invalid_request(message, name)
        return next(iter(values), None)

    def parts(self, name: str) -> dict[str, str]:
        """Returns the values of `name[part]=value`, by part."""
        found = {}
        for key in self._values:
            if key.startswith(f"{name}[") and key.endswith("]"):
                found[key[len(name) + 1 : -1]] = self.one(key) or ""
        return found

    def unknown(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self._values
            if name not in KNOWN_FIELDS and not (name.startswith(f"{CHUNKING}[") and name.endswith("]"))
        )


def _model(form: _Form, rules: FormRules) -> str:
    name = (form.one("model") or "").strip()
    if name and name != rules.model and name not in rules.aliases:
        raise model_not_found(name, (rules.model, *sorted(rules.aliases)))
    return rules.model


def _check_impossible(form: _Form) -> None:
    for value in form.every("include"):
        known = "log probabilities of tokens are not in the answers" if value == "logprobs" else "not a value"
        message = f"include {quoted(value)}: {known} of this server; leave the field out."
        raise invalid_request(message, "include")
    for name in SPEAKER_FIELDS:
        if form.every(name):
            message = f"{name}: this server does not recognise speakers yet; leave the field out."
            raise invalid_request(message, name)


def _languages(form: _Form, rules: FormRules) -> tuple[str | None, tuple[str, ...]]:
    given = (form.one("language") or "").strip()
    several = [value for value in form.every("languages") if value.strip()]
    if given and several:
        message = "language and languages[] cannot be combined: give one of them."
        raise invalid_request(message, "languages")
    codes = [_language(value, "languages", rules) for value in several]
    only = rules.languages[0] if len(rules.languages) == 1 else None
    if given and given.lower() != AUTO:
        return _language(given, "language", rules), ()
    default = None if given or codes else rules.default_language
    return only or default, tuple(dict.fromkeys(codes))


def _language(value: str, param: str, rules: FormRules) -> str:
    code = code_among(value, rules.languages)
    if code is not None:
        return code
    known = one_of(rules.languages)
    if code_of(value) is None:
        message = f"{param} {quoted(value)}: no such language; give a code, English name or tag of: {known}"
        raise invalid_request(f"{message}, or 'auto' to detect it.", param, "unknown_language")
    message = f"{param} {quoted(value)}: {rules.model} knows only {known}."
    raise invalid_request(message, param, "unsupported_language")


def _hotwords(form: _Form) -> str | None:
    words = [word.strip() for word in (*form.every("keywords"), *form.every("hotwords"))]
    return ", ".join(word for word in words if word) or None


def _clip_timestamps(form: _Form) -> tuple[float, ...]:
    """Returns the times of clips: of one text, or of a list with a time each."""
    times = [value for value in form.every("clip_timestamps") if value.strip()]
    try:
        return parse_clip_times(",".join(times))
    except ValueError as error:
        raise invalid_request(f"clip_timestamps: {error}.", "clip_timestamps") from error


def _response_format(form: _Form, task: str) -> str:
    value = form.one("response_format")
    if value is None:
        return JSON
    if value == DIARIZED_JSON and task != TRANSLATE:
        message = "this server does not recognise speakers yet"
    elif value not in RESPONSE_FORMATS:
        message = "no such format"
    else:
        return value
    formats = one_of(RESPONSE_FORMATS)
    raise invalid_request(
        f"response_format {quoted(value)}: {message}; give one of {formats}.", "response_format"
    )


def _temperature(form: _Form) -> float:
    value = form.one("temperature")
    if value is None:
        return 0.0
    number = float(value) if _NUMBER.fullmatch(value.strip()) else None
    if number is None or not 0 <= number <= 1:
        message = f"temperature {quoted(value)}: give a number from 0 to 1."
        raise invalid_request(message, "temperature")
    return abs(number)  # not -0


def _granularities(form: _Form, response_format: str, task: str) -> tuple[bool, bool]:
    """Returns whether the answer has words, and whether it has segments."""
    param = "timestamp_granularities"
    values = form.every(param)
    for value in values:
        if value not in GRANULARITIES:
            message = f"{param} {quoted(value)}: give one or both of {one_of(GRANULARITIES)}."
            raise invalid_request(message, param)
    words = WORD in values
    if words and task == TRANSLATE:
        raise invalid_request(f"{param} 'word': a translation has no times of words; give 'segment'.", param)
    if words and response_format != VERBOSE_JSON:
        message = f"{param} 'word' needs response_format {VERBOSE_JSON!r}, not {response_format!r}."
        raise invalid_request(message, param)
    verbose = response_format == VERBOSE_JSON
    return words, verbose and (SEGMENT in values or not words)


def _stream(form: _Form, response_format: str) -> bool:
    value = form.one("stream")
    stream = BOOLEANS.get(value.strip().lower()) if value is not None else False
    if stream is None:
        raise invalid_request(f"stream {quoted(value or '')}: give 'true' or 'false'.", "stream")
    if stream and response_format not in STREAMED_FORMATS:
        message = f"response_format {response_format!r} cannot be streamed; give one of "
        message += f"{one_of(STREAMED_FORMATS)}: the last event of {VERBOSE_JSON!r} has the subtitles."
        raise invalid_request(message, "response_format")
    return stream


def _url(form: _Form, rules: FormRules, has_file: bool) -> str | None:
    value = form.one("url")
    if value is None:
        if not has_file:
            other = " or url" if rules.allow_urls else ""
            raise invalid_request(f"The form has no part 'file'{other}.", "file")
        return None
    if not rules.allow_urls:
        message = "url: this server fetches no URLs; send the file, or start it with --allow_urls."
        raise invalid_request(message, "url")
    if has_file:
        raise invalid_request("file and url cannot be combined: give one of them.", "url")
    return _checked_url(value.strip())


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname is not None and len(url) <= MAX_URL
    except ValueError:
        valid = False
    if not valid or not url.isprintable():
        message = f"url {quoted(url)}: give an address that begins with http:// or https://."
        raise invalid_request(message, "url")
    return url
