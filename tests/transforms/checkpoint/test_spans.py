from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from transforms.checkpoint.spans import (
    FIRST_SPAN,
    SpanResult,
    SpanStart,
    WorkUnit,
    from_record,
    quarantined,
    seconds_of,
    span_key,
    span_start_of,
    to_record,
    work_unit_key,
)
from transforms.core.audio_streams import StreamInfo
from transforms.core.damage import Damage
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    Failure,
    RecordingPart,
    Segment,
    Untranscribed,
    WindowTranscript,
    Word,
)

SOURCE = AudioSource("id", "/a\udce9.wav", reference="the reference", prompt="So,", channel=1)
DAMAGE = Damage(read_error="cut")
PUBLIC = replace(SOURCE, uri="/a\\udce9.wav")
RESULT = SpanResult(
    "key/1/30",
    SpanStart(1, 30),
    60,
    2,
    (
        WindowTranscript(
            "id", 0, 0.1 + 0.2, 30.0,
            (Segment(0.0, 1.0, " ü", -0.1, 0.0, 1.0, 0.2, "en", "loop", (Word(0.0, 1.0, " ü", 0.5),)),),
            "en", {"en": 0.9}, 0.1, speech=((0.0, 1.0),),
            untranscribed=(Untranscribed(1.0, 2.0, "rate", " ü"),),
        ),
    ),
    (RecordingPart(PUBLIC, 30, 60, 1, 0, 16_000, (0, 9), ((1, 2),), DAMAGE, 480_000, 60.0),),
    (Failure("id", "u", "decode", "truncated", "cut", True, 2),),
    {"windows": 1},
    2,
)  # fmt: skip


def test_a_result_is_read_back_as_it_was_written() -> None:
    assert from_record(json.loads(json.dumps(to_record(RESULT))), SOURCE) == RESULT


def test_the_source_of_a_result_is_the_recording_as_it_is_listed_now() -> None:
    who = (("who", '"x"'),)
    now = AudioSource("id", "https://me:secret@host/b.wav", b"payload", "corrected", metadata=who)
    back = from_record(to_record(RESULT), now)
    (part,) = back.parts
    assert part.source == AudioSource("id", "https://host/b.wav", None, "corrected", metadata=who, channel=1)
    assert part.damage.read_error == "cut"


def test_streams_of_a_result_are_read_back() -> None:
    streams = (StreamInfo(0, "ger", "Film", default=True), StreamInfo(1, taken=True))
    for stream in (None, 1, "en"):
        (part,) = RESULT.parts
        source = replace(SOURCE, uri=PUBLIC.uri, audio_id="id-s1", stream=stream)
        result = replace(RESULT, parts=(replace(part, source=source, streams=streams),))
        (back,) = from_record(json.loads(json.dumps(to_record(result))), SOURCE).parts
        assert (back.streams, back.source.audio_id, back.source.stream) == (streams, "id-s1", stream)


def test_a_record_of_another_version_is_an_error() -> None:
    record = to_record(RESULT)
    record["windows"][0]["start_s"] = "zero"
    with pytest.raises(msgspec.ValidationError):
        from_record(record, SOURCE)


def test_the_key_differs_by_content_and_by_what_is_requested(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"1234")
    span = AudioSpan(AudioSource("id", str(path)))
    os.utime(path, ns=(1, 1))
    keys = {work_unit_key(span)}
    others = [
        replace(span, language="en"),
        replace(span, windows=frozenset({1, 2})),
        replace(span, windows=frozenset({1, 2}), extra=((3, 4),)),
        replace(span, split=True),
        replace(span, all_streams=True),
        *(
            replace(span, source=replace(span.source, **{name: value}))
            for name, value in (
                ("audio_id", "other"), ("prompt", "x"), ("hotwords", "x"), ("start_s", 1.0), ("end_s", 2.0),
                ("language", "fr"), ("channel", 1), ("stream", 0), ("stream", "en"),
                ("payload", b"1234"), ("payload", b"1235"),
            )
        ),
    ]  # fmt: skip
    keys |= {work_unit_key(one) for one in others}
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 1))
    keys.add(work_unit_key(span))
    os.utime(path, ns=(2, 2))
    keys.add(work_unit_key(span))
    path.unlink()
    keys.add(work_unit_key(span))
    assert len(keys) == len(others) + 4


def test_the_key_ignores_row_columns_signatures_and_ranges() -> None:
    one = AudioSpan(AudioSource("id", "https://host/a?X-Amz-Signature=1"), windows=frozenset({9, 1, 33}))
    other = AudioSpan(
        AudioSource("id", "https://host/a?X-Amz-Signature=2", reference="x", metadata=(("a", "1"),)),
        windows=frozenset({33, 1, 9}),
    )
    assert work_unit_key(one) == work_unit_key(other)
    part = replace(one, start_s=30, stop_s=60)
    assert work_unit_key(part) == work_unit_key(one)
    assert span_key("k", FIRST_SPAN) == "k"
    assert span_key("k", SpanStart(1, 0)) == "k/1/0"
    assert [span_start_of(key) for key in ("k", "k/1/30")] == [FIRST_SPAN, SpanStart(1, 30)]


def test_counts_that_follow_from_the_parts_and_the_start_are_added() -> None:
    parts = (RecordingPart(AudioSource("id", "u"), n_windows=4, n_skipped=3),)
    counts = SpanResult("k", parts=parts, counts={"windows": 2}).all_counts()
    assert counts == {"windows": 2, "listed": 0, "windows_skipped": 3}
    starts = [SpanStart(*one) for one in ((0, 0), (1, 0), (2, 0), (0, 60), (1, 60))]
    assert [SpanResult("k", start).all_counts()["listed"] for start in starts] == [0, 1, 1, 0, 0]


def test_seconds_of_a_result() -> None:
    source = AudioSource("id", "u")
    whole = RecordingPart(source, n_samples=40_000)
    assert seconds_of(SpanResult("k", parts=(whole,))) == 2.5
    first, last = RecordingPart(source, 0, 30), RecordingPart(source, 30, None, n_samples=31 * 16_000)
    assert seconds_of(SpanResult("k", parts=(first,))) == 30
    assert seconds_of(SpanResult("k", parts=(last,))) == 1


def test_missing_ranges_of_a_unit_by_channel() -> None:
    span = AudioSpan(AudioSource("id", "u"), start_s=30, stop_s=150)
    unit = WorkUnit("k", span, done=((0, (60, 90)), (1, (30, None))))
    assert list(unit.missing(0, 60)) == [(30, 60), (90, 120), (120, 150)]
    assert list(unit.missing(1, 60)) == []
    assert list(unit.missing(2, 600)) == [(30, 150)]


def test_a_result_has_failed_with_a_failure_or_damage() -> None:
    part = RecordingPart(AudioSource("id", "u"))
    assert not SpanResult("k", parts=(part,)).has_failed
    assert SpanResult("k", parts=(replace(part, damage=Damage(read_error="cut")),)).has_failed
    assert SpanResult("k", failures=(Failure("id", "u", "s", "k", "m"),)).has_failed


def test_a_quarantined_unit_is_a_failure_with_advice() -> None:
    span = AudioSpan(AudioSource("id", "https://me:secret@host/a.wav"))
    (failure,) = quarantined(WorkUnit("key", span, n_crashes=3)).failures
    assert (failure.audio_id, failure.uri) == ("id", "https://host/a.wav")
    assert (failure.kind, failure.attempts, failure.retryable) == ("quarantined", 3, True)
    assert "crashed 3 times" in failure.message
    assert "--retry_failed" in failure.message
