"""Rows of the output: their schema, and the conversion of a `Transcript` or `Failure` to a row."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from transforms.core.audio_streams import StreamInfo
from transforms.core.redaction import redact, redact_text, redact_value
from transforms.core.types import Failure, Metadata, Segment, Transcript, Untranscribed, Word

Row = dict[str, Any]
"""A row of JSON types: text, numbers, None, lists and dicts."""


WORD_TYPE = pa.struct(
    [("start", pa.float64()), ("end", pa.float64()), ("word", pa.string()), ("probability", pa.float64())]
)


SEGMENT_TYPE = pa.struct(
    [
        ("id", pa.int32()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("text", pa.string()),
        ("avg_logprob", pa.float64()),
        ("no_speech_prob", pa.float64()),
        ("compression_ratio", pa.float64()),
        ("temperature", pa.float64()),
        ("fallback", pa.string()),
        ("language", pa.string()),
        ("words", pa.list_(WORD_TYPE)),
    ]
)


LANGUAGE_PROB_TYPE = pa.struct([("language", pa.string()), ("probability", pa.float64())])


STRETCH_TYPE = pa.struct([("start", pa.float64()), ("end", pa.float64())])


UNTRANSCRIBED_TYPE = pa.struct(
    [("start", pa.float64()), ("end", pa.float64()), ("reason", pa.string()), ("text", pa.string())]
)


BOUNDARY_TYPE = pa.struct([("time", pa.float64()), ("kind", pa.string()), ("agreement", pa.float64())])


AUDIO_STREAM_TYPE = pa.struct(
    [
        ("index", pa.int32()),
        ("language", pa.string()),
        ("title", pa.string()),
        ("default", pa.bool_()),
        ("taken", pa.bool_()),
    ]
)


SCHEMA = pa.schema(
    [
        ("audio_id", pa.string()),
        ("uri", pa.string()),
        ("channel", pa.int32()),
        ("audio_streams", pa.list_(AUDIO_STREAM_TYPE)),
        ("duration_s", pa.float64()),
        ("declared_s", pa.float64()),
        ("truncated", pa.bool_()),
        ("problem", pa.string()),
        ("speech_s", pa.float64()),
        ("clips", pa.list_(STRETCH_TYPE)),
        ("skipped", pa.list_(STRETCH_TYPE)),
        ("untranscribed", pa.list_(UNTRANSCRIBED_TYPE)),
        ("language", pa.string()),
        ("language_probs", pa.list_(LANGUAGE_PROB_TYPE)),
        ("task", pa.string()),
        ("text", pa.string()),
        ("segments", pa.list_(SEGMENT_TYPE)),
        ("boundaries", pa.list_(BOUNDARY_TYPE)),
        ("model", pa.string()),
        ("reference", pa.string()),
        ("metadata", pa.string()),
    ]
)


MIN_LANGUAGE_PROB = 0.001  # languages below this are noise; there are about a hundred


def transcript_row(transcript: Transcript) -> Row:
    """Returns the row of the dataset for one recording: the columns of `SCHEMA`, in their order."""
    metadata = metadata_text(transcript.metadata)
    return {
        "audio_id": transcript.audio_id,
        "uri": _encodable(redact(transcript.uri)),
        "channel": transcript.channel,
        "audio_streams": [_stream_row(stream) for stream in transcript.streams],
        "duration_s": transcript.duration_s,
        "declared_s": transcript.declared_s,
        "truncated": transcript.truncated,
        "problem": None if transcript.problem is None else _encodable(transcript.problem),
        "speech_s": transcript.speech_s,
        "clips": [{"start": start_s, "end": end_s} for start_s, end_s in transcript.clips],
        "skipped": [{"start": start_s, "end": end_s} for start_s, end_s in transcript.skipped],
        "untranscribed": [_untranscribed_row(one) for one in transcript.untranscribed],
        "language": transcript.language,
        "language_probs": [
            {"language": language, "probability": round(prob, 4)}
            for language, prob in transcript.language_probs.items()
            if prob >= MIN_LANGUAGE_PROB
        ],
        "task": transcript.task,
        "text": _encodable(transcript.text),
        "segments": [segment_row(index, segment) for index, segment in enumerate(transcript.segments)],
        "boundaries": [
            {"time": boundary.time_s, "kind": boundary.kind.value, "agreement": boundary.agreement}
            for boundary in transcript.boundaries
        ],
        "model": transcript.model,
        "reference": None if transcript.reference is None else _encodable(redact_text(transcript.reference)),
        "metadata": None if metadata is None else _encodable(metadata),
    }


def failure_row(failure: Failure) -> Row:
    """Returns the row of `failures/` for one failure."""
    texts = {"uri": _encodable(failure.uri), "message": _encodable(failure.message)}
    return {**asdict(failure), **texts}


def segment_row(index: int, segment: Segment) -> Row:
    """Returns the row of a segment, the number `index` of its recording."""
    return {
        "id": index,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": _encodable(segment.text),
        "avg_logprob": _finite(segment.avg_logprob),
        "no_speech_prob": _finite(segment.no_speech_prob),
        "compression_ratio": _finite(segment.compression_ratio),
        "temperature": _finite(segment.temperature),
        "fallback": segment.fallback,
        "language": segment.language,
        "words": [_word_row(word) for word in segment.words],
    }


def _untranscribed_row(one: Untranscribed) -> Row:
    return {"start": one.start_s, "end": one.end_s, "reason": one.reason, "text": _encodable(one.text)}


def _stream_row(stream: StreamInfo) -> Row:
    return {
        "index": stream.index,
        "language": stream.language,
        "title": stream.title,
        "default": stream.default,
        "taken": stream.taken,
    }


def _word_row(word: Word) -> Row:
    return {
        "start": word.start_s,
        "end": word.end_s,
        "word": _encodable(word.text),
        "probability": _finite(word.probability),
    }


def _finite(score: float) -> float | None:
    """Replaces NaN and infinity, which JSON does not have, by None."""
    return float(score) if math.isfinite(score) else None


def _encodable(text: str) -> str:
    r"""Returns text that UTF-8 can encode: undecodable bytes of a file name become the text `\udc80`."""
    return text.encode("utf-8", "backslashreplace").decode()


def metadata_text(metadata: Metadata) -> str | None:
    """Returns all columns as the text of one JSON object, without credentials; None if there are none."""
    if not metadata:
        return None
    pairs = (f"{_json(name)}: {_without_secrets(name, value)}" for name, value in metadata)
    return "{" + ", ".join(pairs) + "}"


def _without_secrets(name: str, text: str) -> str:
    """Returns the JSON of a column's value without credentials; the same text if it has none."""
    value = json.loads(text)
    redacted = redact_value(value, name)
    return text if redacted == value else _json(redacted)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
