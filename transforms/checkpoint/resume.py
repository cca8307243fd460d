"""Finds the spans of a recording that were committed by an earlier run, which are not repeated."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from transforms.checkpoint.commit_log import LogIndex
from transforms.checkpoint.spans import SpanResult, SpanStart, WorkUnit, from_record, span_start_of
from transforms.core.sections import BLOCK_S
from transforms.core.types import AudioSpan


@dataclass(frozen=True)
class ResumeSettings:
    """Where a run commits its spans, and which committed spans it repeats.

    Attributes:
        log: URL of the folder of the commit log.
        retry_failed: repeat spans that ended with a failure.
        committed_only: transcribe nothing, and leave out recordings that are not finished.
    """

    log: str
    retry_failed: bool = False
    committed_only: bool = False


_PERMISSION_KINDS = ("forbidden", "forbidden_host", "forbidden_uri")
"""Kinds of failures that a changed option or permission may have resolved since."""


def committed_results(unit: WorkUnit, index: LogIndex, resume: ResumeSettings) -> list[SpanResult]:
    """Returns the valid results of a unit's spans, in order: each second once, without retried ones."""
    found = []
    for key in index.keys_of(unit.key):
        if key in index:
            # A record of another format, although its CRC is valid: the span is repeated.
            with suppress(msgspec.ValidationError):
                found.append(from_record(index.read(key), unit.span.source))
    kept: list[SpanResult] = []
    for result in sorted(found, key=lambda one: one.start):
        ends = [one.stop_s for one in kept if one.start.track == result.start.track]
        is_new = not ends or (ends[-1] is not None and ends[-1] <= result.start.start_s)
        if is_new and not _is_retried(result, resume):
            kept.append(result)
    return kept


def _is_retried(result: SpanResult, resume: ResumeSettings) -> bool:
    """Whether a committed span is to be repeated."""
    lifted = any(failure.retryable or failure.kind in _PERMISSION_KINDS for failure in result.failures)
    return lifted or (resume.retry_failed and result.has_failed)


def is_in_range(start: SpanStart, span: AudioSpan) -> bool:
    """Whether a span that starts there belongs to this range of the recording."""
    return span.start_s <= start.start_s and (span.stop_s is None or start.start_s < span.stop_s)


def with_history(unit: WorkUnit, done: Sequence[SpanResult], index: LogIndex) -> WorkUnit:
    """Returns the unit with its history in the log: finished ranges, attempts, crashes.

    Only crashes in missing spans of its own range count: other ranges may be in progress in other processes,
    which have not crashed, and a crash in a span that is finished now was not caused by a missing one.
    """
    keys = index.keys_of(unit.key)
    done_keys = {result.key for result in done}
    started_here = [
        key for key in keys if key not in done_keys and is_in_range(span_start_of(key), unit.span)
    ]
    return replace(
        unit,
        done=tuple((result.start.track, result.range) for result in done),
        attempts={key: index.next_attempt(key) for key in keys if key in index},
        n_tracks=max((result.n_tracks for result in done), default=1),
        n_crashes=max((index.n_crashed[key] for key in started_here), default=0),
    )


def is_complete(unit: WorkUnit) -> bool:
    """Whether no span of the unit is missing, in any known track."""
    tracks = range(unit.n_tracks if unit.span.has_tracks else 1)
    return all(next(unit.missing(track, BLOCK_S), None) is None for track in tracks)
