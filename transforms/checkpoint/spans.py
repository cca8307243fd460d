"""Work units and their spans, and the result of a span in the form in which it is committed.

A work unit is a recording, or a range of a long one. It is committed span by span, so that another run of the
same command does not repeat a finished span.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from model.interface import SAMPLE_RATE
from transforms.core.errors import AudioError, to_failure
from transforms.core.recording_parts import Range, is_damaged, missing_ranges
from transforms.core.redaction import redact
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, Window, WindowTranscript
from transforms.core.uris import file_stamp, is_url

MAX_CRASHES = 3
"""Crashes of the process in a unit after which the unit counts as their cause and is not tried again."""

QUARANTINED = "quarantined"
"""Kind of the failure of such a unit."""


class SpanStart(NamedTuple):
    """Start of a span: the track, and the second.

    The tracks of a file are its recordings, from 0: its channels or its audio streams, where each is a
    recording of its own, else one.
    """

    track: int
    start_s: int


FIRST_SPAN = SpanStart(0, 0)


@dataclass(frozen=True)
class WorkUnit:
    """A recording, or a range of one, to be transcribed.

    Attributes:
        key: see `work_unit_key`.
        done: the ranges that are finished, each with its track.
        attempts: number of the next result, by the keys of spans that have one; the last result counts.
        n_tracks: tracks of the file, as far as known.
        n_crashes: how often the process crashed in the same span of it.
    """

    key: str
    span: AudioSpan
    done: tuple[tuple[int, Range], ...] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    n_tracks: int = 1
    n_crashes: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether it is worked on exclusively, as it may have crashed the process.

        Not after one crash: each kill of a run is one for all that was under way, some forty recordings.
        """
        return self.n_crashes >= MAX_CRASHES - 1

    def missing(self, track: int, length_s: int) -> Iterator[Range]:
        """Yields the spans of a track that are not finished."""
        done = [one for of, one in self.done if of == track]
        return missing_ranges(self.span.start_s, self.span.stop_s, done, length_s)


@dataclass(frozen=True)
class SpanStarted:
    """The reading of a span has started; `exclusive` if the span may crash the process."""

    key: str
    start: SpanStart = FIRST_SPAN
    attempt: int = 1
    exclusive: bool = False


@dataclass(frozen=True)
class SpanEnded:
    """The reading of a span has ended.

    Attributes:
        stop_s: end of the span; None for the recording's end.
        n_tracks: tracks of the file, as far as known.
    """

    stop_s: int | None = None
    n_tracks: int = 1


ReadEvent = SpanStarted | tuple[AudioSource, Window] | RecordingPart | Failure | SpanEnded
"""An event of the reading of a span; it comes with the name of the reading."""


@dataclass(frozen=True)
class SpanResult:
    """Result of a span, as committed.

    The names of its fields, and those of the records in it, are the keys of the commit log's JSON. A changed
    name needs a new version of the log (`SCHEMA_VERSION` in `pipelines/output/run_folder.py`), because
    unknown and missing keys are not an error when a record is read.

    Attributes:
        key: key of the span, see `span_key`.
        start: start of the span.
        stop_s: end of the span; None for the recording's end.
        n_tracks: see `SpanEnded`.
        counts: increments of the counters of the run (`transforms.core.metrics`), by name.
        attempt: see `WorkUnit`.
    """

    key: str
    start: SpanStart = FIRST_SPAN
    stop_s: int | None = None
    n_tracks: int = 1
    windows: tuple[WindowTranscript, ...] = ()
    parts: tuple[RecordingPart, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    attempt: int = 1

    @property
    def range(self) -> Range:
        """Start and end of the span in seconds."""
        return self.start.start_s, self.stop_s

    @property
    def has_failed(self) -> bool:
        """Whether something is missing or failed, so that another attempt might help."""
        return bool(self.failures) or any(map(is_damaged, self.parts))

    def all_counts(self) -> dict[str, int]:
        """Returns `counts`, and the counts that follow from the other fields."""
        track, start_s = self.start
        return {
            **self.counts,
            "listed": int(track > 0 and start_s == 0),  # the first track was counted as the file
            "windows_skipped": sum(part.n_skipped for part in self.parts),
        }


def span_key(unit: str, start: SpanStart) -> str:
    """Returns the key of a span of a unit; the first span has the key of the unit."""
    return unit if start == FIRST_SPAN else f"{unit}/{start.track}/{start.start_s}"


def span_start_of(key: str) -> SpanStart:
    """Returns the start of the span with that key."""
    _, *start = key.split("/")
    return SpanStart(int(start[0]), int(start[1])) if start else FIRST_SPAN


def work_unit_key(span: AudioSpan) -> str:
    """Returns a key that identifies a unit in all runs: the recording, its content, and the windows wanted.

    The content is identified by a digest of the payload, or by size and time of a local file; that of a URL
    is not. Fields that only go into the row, such as the reference, are not part of the key; nor are the
    options of the run, as each set of options has a log of its own.
    """
    source = span.source
    known_by = replace(source, uri="", payload=None, reference=None, metadata=())
    windows = None if span.windows is None else sorted(span.windows)
    identity = f"{known_by!r} {_content(source)} {span.language} {windows} {span.extra} {span.split}"
    identity += " all streams" if span.all_streams else ""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _content(source: AudioSource) -> str:
    if source.payload is not None:
        return hashlib.sha256(source.payload).hexdigest()
    if is_url(source.uri):
        return ""
    return file_stamp(source.uri) or "missing"


def to_record(result: SpanResult) -> dict[str, Any]:
    """Returns the result as a JSON object.

    Sources are reduced to audio_id, channel and stream: the rest is known from the listing, and may contain
    secrets.
    """

    def bare(one: RecordingPart) -> RecordingPart:
        source = AudioSource(one.source.audio_id, "", channel=one.source.channel, stream=one.source.stream)
        return replace(one, source=source)

    reduced = replace(result, parts=tuple(map(bare, result.parts)))
    record: dict[str, Any] = msgspec.to_builtins(reduced)
    return record


def from_record(record: Mapping[str, Any], source: AudioSource) -> SpanResult:
    """Returns a committed result, with the source as it is listed now.

    Args:
        record: a result of `to_record`.
        source: the recording as it is listed now; for example, its reference may have been corrected since.

    Raises:
        msgspec.ValidationError: the record is of another version.
    """
    result = msgspec.convert(record, SpanResult)
    public = replace(source, uri=redact(source.uri), payload=None)

    def listed_now(one: RecordingPart) -> RecordingPart:
        then = one.source
        source = replace(public, audio_id=then.audio_id, channel=then.channel, stream=then.stream)
        return replace(one, source=source)

    return replace(result, parts=tuple(map(listed_now, result.parts)))


def quarantined(unit: WorkUnit) -> SpanResult:
    """Returns the failure of a unit that crashed its process too often."""
    reason = (
        f"its process crashed {unit.n_crashes} times, the last one while it worked on "
        "nothing else; it may take more memory than there is, or crash a decoder; --retry_failed tries again"
    )
    error = AudioError("transcribe", QUARANTINED, reason, retryable=True)
    error.attempts = unit.n_crashes
    return SpanResult(unit.key, failures=(to_failure(unit.span.source, error),))


def seconds_of(result: SpanResult) -> float:
    """Returns the seconds of audio in a result."""
    ends = (part.stop_s if part.n_samples is None else part.n_samples / SAMPLE_RATE for part in result.parts)
    return sum((end_s or 0.0) - part.start_s for part, end_s in zip(result.parts, ends, strict=True))
