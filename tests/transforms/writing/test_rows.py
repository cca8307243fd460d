from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

from tests.support.transcripts import transcript
from transforms.core.audio_streams import StreamInfo
from transforms.core.types import Boundary, CutKind, Failure, Segment, Transcript, Untranscribed, Word
from transforms.writing.rows import (
    AUDIO_STREAM_TYPE,
    MIN_LANGUAGE_PROB,
    SCHEMA,
    SEGMENT_TYPE,
    UNTRANSCRIBED_TYPE,
    WORD_TYPE,
    failure_row,
    metadata_text,
    transcript_row,
)


def test_a_row_has_the_columns_of_the_schema_in_their_order() -> None:
    word = Word(0.0, 0.5, " a", 0.9)
    one = transcript(1)
    row = transcript_row(replace(one, segments=(replace(one.segments[0], words=(word,)),)))
    assert list(row) == SCHEMA.names
    (segment,) = row["segments"]
    assert list(segment) == [field.name for field in SEGMENT_TYPE]
    assert segment["words"] == [{"start": 0.0, "end": 0.5, "word": " a", "probability": 0.9}]
    assert list(segment["words"][0]) == [field.name for field in WORD_TYPE]


def test_segments_are_numbered_and_boundaries_and_stretches_are_structs() -> None:
    one = transcript(1)
    row = transcript_row(
        replace(
            one,
            segments=one.segments * 2,
            skipped=((3.0, 4.5),),
            untranscribed=(Untranscribed(5.0, 6.0, "rate", " a\udc80"), Untranscribed(6.0, 9.0, "failed")),
            boundaries=(Boundary(27.5, CutKind.PAUSE, 0.75),),
        )
    )
    assert [segment["id"] for segment in row["segments"]] == [0, 1]
    assert row["skipped"] == [{"start": 3.0, "end": 4.5}]
    assert row["untranscribed"] == [
        {"start": 5.0, "end": 6.0, "reason": "rate", "text": " a\\udc80"},
        {"start": 6.0, "end": 9.0, "reason": "failed", "text": ""},
    ]
    assert list(row["untranscribed"][0]) == [field.name for field in UNTRANSCRIBED_TYPE]
    assert row["boundaries"] == [{"time": 27.5, "kind": "pause", "agreement": 0.75}]


def test_audio_streams_are_structs() -> None:
    streams = (StreamInfo(0, "ger", "Film", default=True), StreamInfo(1, taken=True, secondary=True))
    row = transcript_row(replace(transcript(1), streams=streams))
    assert row["audio_streams"] == [
        {"index": 0, "language": "ger", "title": "Film", "default": True, "taken": False},
        {"index": 1, "language": None, "title": None, "default": False, "taken": True},
    ]
    assert list(row["audio_streams"][0]) == [field.name for field in AUDIO_STREAM_TYPE]
    assert transcript_row(transcript(1))["audio_streams"] == []


def test_improbable_languages_are_left_out_and_others_rounded() -> None:
    probs = {"en": 0.98765432, "de": MIN_LANGUAGE_PROB, "fr": MIN_LANGUAGE_PROB / 2}
    assert transcript_row(replace(transcript(1), language_probs=probs))["language_probs"] == [
        {"language": "en", "probability": 0.9877},
        {"language": "de", "probability": MIN_LANGUAGE_PROB},
    ]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_null(score: float) -> None:
    segment = Segment(0, 1, "a", score, score, score, 0.0, words=(Word(0, 1, "a", score),))
    row = transcript_row(replace(transcript(1), segments=(segment,)))
    (found,) = row["segments"]
    assert [found[name] for name in ("avg_logprob", "no_speech_prob", "compression_ratio")] == [None] * 3
    assert found["words"][0]["probability"] is None


def test_text_that_utf8_cannot_encode_is_escaped() -> None:
    row = transcript_row(replace(transcript(1, text="a\udc80b"), problem="\udc80", reference="\udc80"))
    assert (row["text"], row["segments"][0]["text"]) == ("a\\udc80b", "a\\udc80b")
    assert (row["problem"], row["reference"]) == ("\\udc80", "\\udc80")


def test_credentials_stay_out_of_the_rows() -> None:
    one = Transcript("i", "https://me:pw@host/a.wav?X-Amz-Signature=abc", 1, False, "en", "t", "", (), "m")
    assert transcript_row(one)["uri"] == "https://host/a.wav"


def test_further_columns_are_the_text_of_a_json_object() -> None:
    metadata = (("speaker", '"ü"'), ("bad\udce9", '["\udce9"]'))
    text = transcript_row(replace(transcript(1), metadata=metadata))["metadata"]
    assert json.loads(text) == {"speaker": "ü", "bad\udce9": ["\udce9"]}
    assert metadata_text((("speaker", '"ü"'), ("n", "0.10"))) == '{"speaker": "ü", "n": 0.10}'
    assert metadata_text(()) is None
    assert transcript_row(transcript(1))["metadata"] is None


def test_no_text_of_a_row_has_credentials() -> None:
    signed = "https://me:pw@h/a.wav?x=1&X-Amz-Signature=5ec4e7"
    metadata = (
        ("page", json.dumps(signed)),
        ("links", json.dumps([{"of": signed}, 0.10])),
        ("password", '"pw"'),
    )
    row = transcript_row(replace(transcript(1), uri=signed, reference=f"Hello {signed}", metadata=metadata))
    clean = "https://h/a.wav?x=1"
    assert (row["uri"], row["reference"]) == (clean, f"Hello {clean}")
    assert json.loads(row["metadata"]) == {
        "page": clean, "links": [{"of": clean}, 0.1], "password": "[hidden]",
    }  # fmt: skip


def test_references_and_ids_of_rows_keep_what_is_no_credential() -> None:
    session = "550e8400-e29b-41d4-a716-446655440000"
    metadata = (
        ("session_id", json.dumps(session)),
        ("tokens", '"iPhone12ProMaxCase2020 is here"'),
        ("api_key", "[12]"),
    )
    reference = "We say #BlackLivesMatter today"
    row, other = (
        transcript_row(replace(transcript(n), reference=reference, metadata=metadata)) for n in (1, 2)
    )
    written = json.loads(row["metadata"])
    assert row["reference"] == reference
    assert row["metadata"] == other["metadata"]
    assert written["session_id"].startswith("hidden-")
    assert (written["tokens"], written["api_key"]) == ("iPhone12ProMaxCase2020 is here", "[hidden]")


def test_a_failure_row_has_the_fields_of_the_failure() -> None:
    failure = Failure("b", "/b\udce9.wav", "transcribe", "model_error", "gone \udce9", True, 2)
    assert failure_row(failure) == {
        **asdict(failure), "uri": "/b\\udce9.wav", "message": "gone \\udce9",
    }  # fmt: skip
