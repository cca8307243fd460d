"""Bodies of the HTTP answers in OpenAI's formats: json, text, srt, vtt, verbose_json.

They are made from the same row as the files of the pipeline. Three fields of verbose_json need a word:

- `seek` is the start of the segment in hundredths of a second. In openai/whisper it is the frame (10 ms) at
  which the segment's window starts; windows here are packed with speech and have no single start in the file.
- `tokens` are the ids of the segment's text, encoded again: the ids that the model generated are not kept, as
  merging and filters change the text. They have no timestamps among them.
- Clients parse the scores as numbers, so a score that is not finite has a number that says that it failed:
  `avg_logprob` -100 (OpenAI: below -1 the log probabilities failed), the others 0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.interface import TRANSLATE
from model.languages import LANGUAGES
from pipelines.server.request import JSON, TEXT, VERBOSE_JSON, TranscriptionRequest
from transforms.core.types import Failure
from transforms.writing.rows import failure_row
from transforms.writing.subtitles import RENDERERS

Row = Mapping[str, Any]
Json = dict[str, Any]
TokenIds = Callable[[str], Sequence[int]]
"""Returns the token ids of a text."""

JSON_TYPE, TEXT_TYPE = "application/json", "text/plain; charset=utf-8"
PROBLEM_HEADER = "x-problem"
UNKNOWN_LANGUAGE = "unknown"
"""The language of a recording without speech, unless the request names one; clients require a text."""

_TRANSLATION_LANGUAGE = "english"
_FAILED_SCORES = {"temperature": 0.0, "avg_logprob": -100.0, "compression_ratio": 0.0, "no_speech_prob": 0.0}
_MAX_HEADER = 1000  # characters; proxies refuse headers of several kilobytes
# Many clients split an event stream with `str.splitlines`, for which these end a line too.
_LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x7f\x85\u2028\u2029"}


@dataclass(frozen=True)
class Body:
    """The body of an answer, its content type and its headers."""

    content: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def render(row: Row, failures: Sequence[Failure], request: TranscriptionRequest, token_ids: TokenIds) -> Body:
    """Returns the answer to a request in its format.

    Args:
        row: the row of the recording (`transforms.writing.rows.transcript_row`).
        failures: failures of the recording that left it a row.
        request: the request.
        token_ids: see `TokenIds`.
    """
    problem = problem_of(row, failures)
    if request.response_format in (JSON, VERBOSE_JSON):
        is_verbose = request.response_format == VERBOSE_JSON
        answer = verbose_answer(row, request, token_ids) if is_verbose else short_answer(row, request)
        return Body(encode_json(answer | ({"problem": problem} if problem else {})), JSON_TYPE)
    text = row["text"] if request.response_format == TEXT else RENDERERS[request.response_format](row)
    headers = {PROBLEM_HEADER: header_text(problem)} if problem else {}
    return Body(text.encode("utf-8", "replace"), TEXT_TYPE, headers)


def problem_of(row: Row, failures: Sequence[Failure]) -> str | None:
    """Returns a message that says what is missing, damaged or doubtful in a recording; None if nothing is."""
    problem: str | None = row["problem"]
    # The failure of a truncated recording repeats its problem.
    others = [failure for failure in failures if failure.kind != "truncated" or not problem]
    messages = [failure_row(failure)["message"] for failure in others]
    return "; ".join([problem, *messages] if problem else messages) or None


def header_text(text: str) -> str:
    """Returns a text that fits into a header: one line of printable ASCII of limited length."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
    return line.encode("ascii", "backslashreplace").decode()[:_MAX_HEADER]


def short_answer(row: Row, request: TranscriptionRequest) -> Json:
    """Returns the object of the format json; `languages` is empty for a recording without speech."""
    answer: Json = {"text": row["text"]}
    if request.task != TRANSLATE:
        code = row["language"] or request.language
        answer["languages"] = [{"code": code}] if code else []
    return answer | {"usage": usage(row)}


def verbose_answer(row: Row, request: TranscriptionRequest, token_ids: TokenIds) -> Json:
    """Returns the object of the format verbose_json, with segments and words as the request wants them."""
    answer: Json = {
        "task": request.task,
        "language": language_name(row, request),
        "duration": float(row["duration_s"]),
        "text": row["text"],
    }
    return answer | timed_parts(row, request, token_ids) | {"usage": usage(row)}


def timed_parts(row: Row, request: TranscriptionRequest, token_ids: TokenIds) -> Json:
    """Returns `segments` and `words`, those of them that the request wants; translations have no words."""
    parts: Json = {}
    if request.segments:
        parts["segments"] = [_segment(segment, token_ids) for segment in row["segments"]]
    if wants_words(request):
        parts["words"] = [word for segment in row["segments"] for word in words_of(segment)]
    return parts


def wants_words(request: TranscriptionRequest) -> bool:
    """Whether the answer has words."""
    return request.words and request.task != TRANSLATE


def words_of(segment: Row) -> Iterator[Json]:
    """Yields the words of a segment of a row, without the space before them."""
    for word in segment["words"]:
        yield {"word": word["word"].strip(), "start": float(word["start"]), "end": float(word["end"])}


def usage(row: Row) -> Json:
    """Returns the seconds of the recording as OpenAI counts them: started ones are whole."""
    return {"type": "duration", "seconds": math.ceil(row["duration_s"])}


def language_name(row: Row, request: TranscriptionRequest) -> str:
    """Returns the English name of the language of the text, in lower case; see `UNKNOWN_LANGUAGE`."""
    if request.task == TRANSLATE:
        return _TRANSLATION_LANGUAGE
    code = row["language"] or request.language
    return LANGUAGES.get(code, code) if code else UNKNOWN_LANGUAGE


def encode_json(value: Json) -> bytes:
    """Returns JSON on one line, in UTF-8; what UTF-8 cannot encode becomes a question mark."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_LINE_ENDS).encode("utf-8", "replace")


def _segment(segment: Row, token_ids: TokenIds) -> Json:
    scores = {
        name: failed if segment[name] is None else float(segment[name])
        for name, failed in _FAILED_SCORES.items()
    }
    return {
        "id": segment["id"],
        "seek": round(100 * segment["start"]),
        "start": float(segment["start"]),
        "end": float(segment["end"]),
        "text": segment["text"],
        "tokens": list(token_ids(segment["text"])),
        **scores,
    }
