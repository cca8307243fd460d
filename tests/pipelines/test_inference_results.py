from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from pipelines.inference_results import CancelledError, TranscriptionError, to_result
from tests.support.transcripts import TEXT, transcript
from transforms.core.cancellation import StopRequestedError
from transforms.core.types import Failure, Untranscribed, Word
from transforms.recognition.recording import TranscribedRecording
from transforms.writing.rows import failure_row, transcript_row

GONE = Failure("id1", "/talks/001.wav", "fetch", "not_found", "no such file", retryable=False)
DELETED = (Untranscribed(1.0, 2.0, "rate", " la la"),)
LOST = Failure("id1", "/talks/001.wav", "transcribe", "model_error", "seconds 3 to 9", retryable=True)


def recording(*failures: Failure, words: tuple[Word, ...] = ()) -> TranscribedRecording:
    plain = transcript(1)
    segments = tuple(replace(segment, words=words) for segment in plain.segments)
    made = replace(plain, segments=segments, problem="cut short", untranscribed=DELETED)
    return TranscribedRecording(None, made, failures)


def test_the_result_has_these_keys_and_no_others() -> None:
    found = recording(LOST)
    assert found.transcript is not None
    assert to_result(found, has_words=False) == {
        "text": TEXT,
        "language": "de",
        "duration": 2.5,
        "segments": [{"id": 0, "start": 0.0, "end": 2.5, "text": f" {TEXT}"}],
        "problem": "cut short",
        "untranscribed": [{"start": 1.0, "end": 2.0, "reason": "rate", "text": " la la"}],
        "failures": [failure_row(LOST)],
        "row": transcript_row(found.transcript),
    }


def test_words_are_in_the_segments_if_they_were_requested() -> None:
    words = (Word(0.5, 1.0, " Grüße,", 0.75), Word(1.0, 1.5, " 世界", float("nan")))
    (segment,) = to_result(recording(words=words), has_words=True)["segments"]
    assert segment == {
        "id": 0,
        "start": 0.0,
        "end": 2.5,
        "text": f" {TEXT}",
        "words": [
            {"start": 0.5, "end": 1.0, "word": " Grüße,", "probability": 0.75},
            {"start": 1.0, "end": 1.5, "word": " 世界", "probability": None},
        ],
    }
    assert to_result(recording(), has_words=True)["segments"][0]["words"] == []


def test_a_recording_without_a_transcript_is_an_error_with_its_first_failure() -> None:
    with pytest.raises(TranscriptionError, match=r"^/talks/001\.wav: not_found: no such file$") as caught:
        to_result(TranscribedRecording(None, None, (GONE, LOST)), has_words=False)
    error = caught.value
    assert (error.stage, error.kind, error.retryable) == ("fetch", "not_found", False)
    assert error.failures == (GONE, LOST)
    again = pickle.loads(pickle.dumps(error))  # as between processes
    assert (str(again), again.kind, again.failures) == (str(error), "not_found", (GONE, LOST))
    assert TranscriptionError((LOST,)).retryable


def test_an_error_without_a_failure_still_has_a_kind() -> None:
    error = TranscriptionError(())
    assert (error.stage, error.kind, error.retryable) == ("transcribe", "unexpected", False)
    assert str(error) == "the recording has no transcript"


def test_what_a_caller_cancels_is_no_failure_of_the_recording() -> None:
    assert issubclass(CancelledError, StopRequestedError)
