"""What came out of a span, as it is committed: another run of the same command need not do it again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from transforms.errors import AudioError, redact, to_failure
from transforms.types import AudioSource, AudioSpan, Failure, Recording, Window, WindowTranscript
from transforms.uris import is_url

MAX_DEATHS = 3
"""How often a span may have been begun and never ended, before it is held to kill its process."""


@dataclass(frozen=True)
class Unit:
    """A span that is to be worked on.

    Attributes:
        key: see `unit_key`.
        attempt: that of its result; a later one counts before an earlier one.
        n_deaths: how often it was begun and never ended. It may have killed its process: after the first time
            it is worked on alone.
    """

    key: str
    span: AudioSpan
    attempt: int = 1
    n_deaths: int = 0


@dataclass(frozen=True)
class Begun:
    """What is read next is of this unit; `alone` when it may kill its process."""

    key: str
    attempt: int
    alone: bool = False


@dataclass(frozen=True)
class Ended:
    """No more is read of a unit."""


Step = Begun | tuple[AudioSource, Window] | Recording | Failure | Ended
"""Of the reading of a unit; each comes with a name that its reading has alone."""


@dataclass(frozen=True)
class SpanResult:
    """All that came out of a span.

    Attributes:
        key: of the span, see `unit_key`.
        counts: what to add to the counters of the run (`transforms.progress`), by name.
        attempt: see `Unit`.
    """

    key: str
    windows: tuple[WindowTranscript, ...] = ()
    recordings: tuple[Recording, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    attempt: int = 1

    def all_counts(self) -> dict[str, int]:
        """`counts`, and what can be told from the rest."""
        skipped_s = sum(end_s - start_s for one in self.recordings for start_s, end_s in one.skipped)
        ids = {one.source.audio_id for one in self.recordings} | {one.audio_id for one in self.failures}
        return {
            **self.counts,
            "listed": max(len(ids) - 1, 0),  # channels after the first, which was counted as the file
            "windows_skipped": sum(one.n_skipped for one in self.recordings),
            "skipped_ms": round(1000 * skipped_s),
        }


def unit_key(span: AudioSpan) -> str:
    """What a span is known again by: the recording, its content as far as that is seen, and what is asked.

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
    try:
        status = os.stat(source.uri)
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def to_record(result: SpanResult) -> dict[str, Any]:
    """The result as JSON has it; of its sources what no listing knows, and no text that may hold a secret."""

    def bare(one: Recording) -> Recording:
        source = AudioSource(one.source.audio_id, "", channel=one.source.channel)
        return replace(one, source=source)

    told = replace(result, recordings=tuple(map(bare, result.recordings)))
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

    def listed_now(one: Recording) -> Recording:
        then = one.source
        return replace(one, source=replace(public, audio_id=then.audio_id, channel=then.channel))

    return replace(result, recordings=tuple(map(listed_now, result.recordings)))


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
    return sum(one.duration_s for one in result.recordings)
