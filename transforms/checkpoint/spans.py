"""What came out of a span, as it is committed: another run of the same command need not do it again.

A recording is worked on as a unit, or range by range; a unit is committed span by span.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from model.interface import SAMPLE_RATE
from transforms.core.errors import AudioError, to_failure
from transforms.core.recording_parts import Range, is_damaged, missing
from transforms.core.redaction import redact
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, Window, WindowTranscript
from transforms.core.uris import is_url, stamp_of_file

MAX_DEATHS = 3
"""How often a unit may have been begun and never ended, before it is held to kill its process."""


Place = tuple[int, int]
"""Where a span begins: the channel, 0 where all are one recording, and the second."""


@dataclass(frozen=True)
class Unit:
    """A recording, or a range of one, that is to be worked on.

    Attributes:
        key: see `unit_key`.
        done: the ranges that are done, each with its channel.
        attempts: of the next result, by the keys of spans that were done before; the last one counts.
        n_channels: how many there are, so far as that is known.
        n_deaths: how often one of its spans was begun and never ended. It may have killed its process: after
            the first time it is worked on alone.
    """

    key: str
    span: AudioSpan
    done: tuple[tuple[int, Range], ...] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    n_channels: int = 1
    n_deaths: int = 0

    def missing(self, channel: int, length_s: int) -> Iterator[Range]:
        """The spans of a channel that are to be worked on."""
        done = [one for of, one in self.done if of == channel]
        return missing(self.span.start_s, self.span.stop_s, done, length_s)


@dataclass(frozen=True)
class Begun:
    """What is read next is of this span; `alone` when it may kill its process."""

    key: str
    place: Place = (0, 0)
    attempt: int = 1
    alone: bool = False


@dataclass(frozen=True)
class Ended:
    """No more is read of a span.

    Attributes:
        stop_s: where it ends; None for the recording's end.
        n_channels: of the file, so far as that is known.
    """

    stop_s: int | None = None
    n_channels: int = 1


Step = Begun | tuple[AudioSource, Window] | RecordingPart | Failure | Ended
"""Of the reading of a span; each comes with a name that its reading has alone."""


@dataclass(frozen=True)
class SpanResult:
    """All that came out of a span.

    Attributes:
        key: of the span, see `span_key`.
        place: where it begins.
        stop_s: where it ends; None for the recording's end.
        n_channels: see `Ended`.
        counts: what to add to the counters of the run (`transforms.core.metrics`), by name.
        attempt: see `Unit`.
    """

    key: str
    place: Place = (0, 0)
    stop_s: int | None = None
    n_channels: int = 1
    windows: tuple[WindowTranscript, ...] = ()
    parts: tuple[RecordingPart, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    attempt: int = 1

    @property
    def range(self) -> Range:
        """Its seconds."""
        return self.place[1], self.stop_s

    @property
    def has_failed(self) -> bool:
        """Whether something is not there that another attempt might bring."""
        return bool(self.failures) or any(map(is_damaged, self.parts))

    def all_counts(self) -> dict[str, int]:
        """`counts`, and what can be told from the rest."""
        channel, start_s = self.place
        return {
            **self.counts,
            "listed": int(channel > 0 and start_s == 0),  # the first channel was counted as the file
            "windows_skipped": sum(part.n_skipped for part in self.parts),
        }


def span_key(unit: str, place: Place) -> str:
    """What a span of a unit is known again by; the first one by what its unit is."""
    return unit if place == (0, 0) else f"{unit}/{place[0]}/{place[1]}"


def place_of(key: str) -> Place:
    """Where the span of a key begins."""
    _, *place = key.split("/")
    return (int(place[0]), int(place[1])) if place else (0, 0)


def unit_key(span: AudioSpan) -> str:
    """What a unit is known again by: the recording, its content as far as that is seen, and what is asked.

    The content is known by a digest of the payload, or by size and time of a local file; of a URL it is not.
    What goes into the row alone, as a reference does, does not count; nor do the options of the run, which
    has a log of its own.
    """
    source = span.source
    known_by = replace(source, uri="", payload=None, reference=None, metadata=())
    windows = None if span.windows is None else sorted(span.windows)
    told = f"{known_by!r} {_content(source)} {span.language} {windows} {span.extra} {span.split}"
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _content(source: AudioSource) -> str:
    if source.payload is not None:
        return hashlib.sha256(source.payload).hexdigest()
    if is_url(source.uri):
        return ""
    return stamp_of_file(source.uri) or "missing"


def to_record(result: SpanResult) -> dict[str, Any]:
    """The result as JSON has it; of its sources what no listing knows, and no text that may hold a secret."""

    def bare(one: RecordingPart) -> RecordingPart:
        source = AudioSource(one.source.audio_id, "", channel=one.source.channel)
        return replace(one, source=source)

    told = replace(result, parts=tuple(map(bare, result.parts)))
    record: dict[str, Any] = msgspec.to_builtins(told)
    return record


def from_record(record: Mapping[str, Any], source: AudioSource) -> SpanResult:
    """A result that was committed, with what is now known of the recording.

    Args:
        record: from `to_record`.
        source: the recording as it is listed now: its reference, say, may have been corrected since.

    Raises:
        msgspec.ValidationError: the record is of another version.
    """
    result = msgspec.convert(record, SpanResult)
    public = replace(source, uri=redact(source.uri), payload=None)

    def listed_now(one: RecordingPart) -> RecordingPart:
        then = one.source
        return replace(one, source=replace(public, audio_id=then.audio_id, channel=then.channel))

    return replace(result, parts=tuple(map(listed_now, result.parts)))


def quarantined(unit: Unit) -> SpanResult:
    """The failure of a unit that was begun too often and never ended."""
    reason = (
        f"the process that worked on it died {unit.n_deaths} times, the last ones while it worked on "
        "nothing else; it may take more memory than there is, or crash a decoder; --retry_failed tries again"
    )
    error = AudioError("transcribe", "quarantined", reason, retryable=True)
    error.attempts = unit.n_deaths
    return SpanResult(unit.key, failures=(to_failure(unit.span.source, error),))


def seconds_of(result: SpanResult) -> float:
    """Seconds of audio in a result."""
    ends = (part.stop_s if part.n_samples is None else part.n_samples / SAMPLE_RATE for part in result.parts)
    return sum((end_s or 0.0) - part.start_s for part, end_s in zip(result.parts, ends, strict=True))
