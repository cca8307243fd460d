"""Results of the Python API: segments and texts as dicts, and the errors of a recording."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from transforms.core.cancellation import StopRequestedError
from transforms.core.types import Failure
from transforms.recognition.recording import TranscribedRecording
from transforms.writing.rows import Row, failure_row, transcript_row


class Word(TypedDict):
    """A word of a segment; times in seconds of the recording. `word` includes its leading space."""

    start: float
    end: float
    word: str
    probability: float | None


class Segment(TypedDict):
    """A stretch of the recording with its text; times in seconds of the recording."""

    id: int
    start: float
    end: float
    text: str
    words: NotRequired[list[Word]]


class Untranscribed(TypedDict):
    """Seconds of the recording that have no text, or have lost some of it (docs/output.md).

    Keys:
        reason: `failed`, `no_speech`, `no_text`, `remainder`, `cut_off`, or the name of a hallucination
            filter.
        text: the text that was deleted; empty if there was none.
    """

    start: float
    end: float
    reason: str
    text: str


class Result(TypedDict):
    """The transcript of a recording.

    Keys:
        text: the whole text.
        language: code of its language; None if there is no speech and no language was given.
        duration: seconds of audio that could be decoded.
        segments: the segments, in order; with their words if these were requested.
        problem: what of the audio is missing or damaged, or could not be transcribed; None if nothing is.
        untranscribed: the seconds that have no text, or have lost some of it, in order.
        failures: parts of the recording that are missing from the text, as rows of `failures/`.
        row: the row of the pipeline, with all scores (docs/output.md).
    """

    text: str
    language: str | None
    duration: float
    segments: list[Segment]
    problem: str | None
    untranscribed: list[Untranscribed]
    failures: list[Row]
    row: Row


class TranscriptionError(RuntimeError):
    """A recording has no transcript.

    Attributes:
        stage: `fetch`, `decode`, `transcribe` or `merge`.
        kind: short name of the kind of error: `not_found`, `empty`, `not_audio`, `corrupt`, ...
        retryable: whether another attempt, with nothing changed, might succeed.
        failures: all failures of the recording; the first one is the reason.
    """

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        self.failures = failures
        first = failures[0] if failures else None
        self.stage = first.stage if first else "transcribe"
        self.kind = first.kind if first else "unexpected"
        self.retryable = bool(first and first.retryable)
        super().__init__(failures)  # pickle reconstructs it from these

    def __str__(self) -> str:
        if not self.failures:
            return "the recording has no transcript"
        first = self.failures[0]
        return f"{first.uri}: {first.kind}: {first.message}"


class CancelledError(StopRequestedError):
    """The caller cancelled a transcription."""


def to_result(recording: TranscribedRecording, *, has_words: bool) -> Result:
    """Returns the result of a recording.

    Args:
        recording: the recording.
        has_words: whether the segments have their words.

    Raises:
        TranscriptionError: the recording has no transcript.
    """
    if recording.transcript is None:
        raise TranscriptionError(recording.failures)
    row = transcript_row(recording.transcript)
    return Result(
        text=row["text"],
        language=row["language"],
        duration=row["duration_s"],
        segments=[to_segment(segment, has_words=has_words) for segment in row["segments"]],
        problem=row["problem"],
        untranscribed=row["untranscribed"],
        failures=[failure_row(failure) for failure in recording.failures],
        row=row,
    )


def to_segment(row: Row, *, has_words: bool) -> Segment:
    """Returns a segment of a result from that of a row."""
    segment = Segment(id=row["id"], start=row["start"], end=row["end"], text=row["text"])
    if has_words:
        segment["words"] = row["words"]
    return segment
