"""What came out of a span, as it is committed: another run of the same command need not do it again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from transforms.errors import redact
from transforms.types import AudioSource, AudioSpan, Failure, Recording, WindowTranscript
from transforms.uris import is_url


@dataclass(frozen=True)
class SpanResult:
    """All that came out of a span.

    Attributes:
        key: of the span, see `unit_key`.
        counts: what to add to the counters of the run (`transforms.progress`), by name.
    """

    key: str
    windows: tuple[WindowTranscript, ...] = ()
    recordings: tuple[Recording, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def unit_key(span: AudioSpan) -> str:
    """What a span is known again by: the recording, its content as far as that is seen, and what is asked.

    The content is known by a digest of the payload, or by size and time of a local file; of a URL it is not.
    What goes into the row alone, as a reference does, does not count; nor do the options of the run, which
    has a log of its own.
    """
    source = span.source
    asked = replace(span, source=replace(source, uri="", payload=None, reference=None))
    told = f"{asked!r} {_content(source)}"
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
    """The result as JSON has it, without credentials."""
    public = replace(result, recordings=tuple(map(_public, result.recordings)))
    record: dict[str, Any] = msgspec.to_builtins(public)
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
    return replace(result, recordings=tuple(_listed_now(one, source) for one in result.recordings))


def _public(recording: Recording) -> Recording:
    return replace(recording, source=_nameless(recording.source))


def _nameless(source: AudioSource) -> AudioSource:
    return replace(source, uri=redact(source.uri), payload=None)


def _listed_now(recording: Recording, source: AudioSource) -> Recording:
    return replace(recording, source=replace(_nameless(source), audio_id=recording.source.audio_id))
