from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from transforms.types import AudioSource, AudioSpan, Failure, Recording, Segment, WindowTranscript, Word
from transforms.units import SpanResult, Unit, from_record, quarantined, to_record, unit_key

SOURCE = AudioSource("id", "/a\udce9.wav", reference="said", prompt="So,", channel=1)
PUBLIC = replace(SOURCE, uri="/a\\udce9.wav")
RESULT = SpanResult(
    "key",
    (
        WindowTranscript(
            "id", 0, 0.1 + 0.2, 30.0,
            (Segment(0.0, 1.0, " ü", -0.1, 0.0, 1.0, 0.2, "en", "loop", (Word(0.0, 1.0, " ü", 0.5),)),),
            "en", {"en": 0.9}, 0.1, speech=((0.0, 1.0),),
        ),
    ),
    (Recording(PUBLIC, 30.0, 1, 0, 1.0, ((2.0, 30.0),), True, "cut", 60.0),),
    (Failure("id", "u", "decode", "truncated", "cut", True, 2),),
    {"windows": 1},
    2,
)  # fmt: skip


def test_a_result_comes_back_as_it_was() -> None:
    assert from_record(json.loads(json.dumps(to_record(RESULT))), SOURCE) == RESULT


def test_what_is_known_of_a_recording_is_what_is_listed_now() -> None:
    who = (("who", '"x"'),)
    now = AudioSource("id", "https://me:secret@host/b.wav", b"payload", "corrected", metadata=who)
    back = from_record(to_record(RESULT), now)
    (recording,) = back.recordings
    assert recording.source == AudioSource(
        "id", "https://host/b.wav", None, "corrected", metadata=who, channel=1
    )
    assert recording.problem == "cut"


def test_a_record_of_another_version_is_an_error() -> None:
    record = to_record(RESULT)
    record["windows"][0]["start_s"] = "zero"
    with pytest.raises(msgspec.ValidationError):
        from_record(record, SOURCE)


def test_a_key_stands_for_content_and_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"1234")
    span = AudioSpan(AudioSource("id", str(path)))
    os.utime(path, ns=(1, 1))
    keys = {unit_key(span)}
    others = [
        replace(span, language="en"),
        replace(span, windows=frozenset({1, 2})),
        replace(span, windows=frozenset({1, 2}), extra=((3, 4),)),
        replace(span, split=True),
        *(
            replace(span, source=replace(span.source, **{name: value}))
            for name, value in (
                ("audio_id", "other"), ("prompt", "x"), ("hotwords", "x"), ("start_s", 1.0), ("end_s", 2.0),
                ("language", "fr"), ("channel", 1), ("payload", b"1234"), ("payload", b"1235"),
            )
        ),
    ]  # fmt: skip
    keys |= {unit_key(one) for one in others}
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 1))
    keys.add(unit_key(span))
    os.utime(path, ns=(2, 2))
    keys.add(unit_key(span))
    path.unlink()
    keys.add(unit_key(span))
    assert len(keys) == len(others) + 4


def test_a_key_does_not_stand_for_what_goes_into_the_row_alone_or_changes_by_itself() -> None:
    one = AudioSpan(AudioSource("id", "https://host/a?X-Amz-Signature=1"), windows=frozenset({9, 1, 33}))
    other = AudioSpan(
        AudioSource("id", "https://host/a?X-Amz-Signature=2", reference="x", metadata=(("a", "1"),)),
        windows=frozenset({33, 1, 9}),
    )
    assert unit_key(one) == unit_key(other)


def test_counts_that_the_rest_tells() -> None:
    recordings = tuple(
        Recording(AudioSource(f"id-{channel}", "u"), 9.0, 4, 3, skipped=((0.0, 1.5), (2.0, 3.0)))
        for channel in range(2)
    )
    failures = (Failure("id-1", "u", "s", "k", "m"), Failure("id-2", "u", "s", "k", "m"))
    counts = SpanResult("k", (), recordings, failures, {"windows": 2}).all_counts()
    assert counts == {"windows": 2, "listed": 2, "windows_skipped": 6, "skipped_ms": 5000}
    assert SpanResult("k").all_counts()["listed"] == 0


def test_a_unit_that_was_begun_too_often_is_a_failure_that_says_how_to_try_again() -> None:
    span = AudioSpan(AudioSource("id", "https://me:secret@host/a.wav"))
    (failure,) = quarantined(Unit("key", span, 1, 3)).failures
    assert (failure.audio_id, failure.uri) == ("id", "https://host/a.wav")
    assert (failure.kind, failure.attempts, failure.retryable) == ("quarantined", 3, True)
    assert "died 3 times" in failure.message
    assert "--retry_failed" in failure.message
