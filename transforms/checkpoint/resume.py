"""What was committed before is not done again: the Beam half of `transforms.checkpoint.commit_log`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import apache_beam as beam
import msgspec
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from transforms.checkpoint.commit_log import LogIndex, read_index
from transforms.checkpoint.spans import (
    MAX_DEATHS,
    Place,
    SpanResult,
    Unit,
    from_record,
    place_of,
    quarantined,
    seconds_of,
    unit_key,
)
from transforms.core.failures import failed
from transforms.core.metrics import PROGRESS, count
from transforms.core.sections import BLOCK_S
from transforms.core.types import AudioSpan, Failure, RecordingPart, WindowTranscript
from transforms.dofns.read_windows import PARTS, UNITS


@dataclass(frozen=True)
class Resuming:
    """Where a run keeps what it has done.

    Attributes:
        log: URL of the folder of its commit log.
        retry_failed: do again what ended with a failure.
    """

    log: str
    retry_failed: bool = False


_LIFTED = ("forbidden", "forbidden_host", "forbidden_uri")
"""Kinds of failures that an option, or a permission, may have lifted since."""

Output = tuple[str, WindowTranscript] | TaggedOutput[str, Failure | tuple[str, RecordingPart]]


class SkipDone(beam.DoFn):
    """Gives what came out of a span before, and what is missing as `Unit`, tagged `UNITS`.

    Args:
        resuming: None where nothing is kept.
        shared: the handle of the index of the log: a process reads it once.
    """

    def __init__(self, resuming: Resuming | None, shared: Shared) -> None:
        self._resuming = resuming
        self._shared = shared
        self._index: LogIndex | None = None

    def setup(self) -> None:
        """Reads the log."""
        if self._resuming is not None:
            log = self._resuming.log
            self._index = self._shared.acquire(lambda: read_index(log))

    def process(self, span: AudioSpan) -> Iterator[Output | TaggedOutput[str, Unit]]:
        """Looks it up."""
        unit = Unit(unit_key(span), span)
        if self._resuming is not None and self._index is not None:
            done = self._done_before(unit, self._index, self._resuming)
            for result in done:
                if not _is_in(result.place, span):
                    continue
                self._tell(result, span)
                yield from outputs_of(result)
            unit = _resumed(unit, done, self._index)
            if unit.n_deaths >= MAX_DEATHS and not self._resuming.retry_failed:
                yield from outputs_of(quarantined(unit))
                return
        if next(unit.missing(0, BLOCK_S), None) is not None or _lacks_channels(unit):
            yield TaggedOutput(UNITS, unit)
        elif span.windows is None and span.start_s == 0:
            # Of one that workers share, other ranges may be missing.
            recording = replace(unit, span=replace(span, stop_s=None))
            is_done = next(recording.missing(0, BLOCK_S), None) is None
            count("resumed", int(is_done))
            PROGRESS.add(recordings=1, resumed=int(is_done))

    def _done_before(self, unit: Unit, index: LogIndex, resuming: Resuming) -> list[SpanResult]:
        """What came out of its spans, those that are done alone; each second of it once."""
        found = []
        for key in index.keys_of(unit.key):
            if key in index:
                with suppress(msgspec.ValidationError):  # of another version of the records: it is done again
                    found.append(from_record(index.read(key), unit.span.source))
        kept: list[SpanResult] = []
        for result in sorted(found, key=lambda one: one.place):
            ends = [one.stop_s for one in kept if one.place[0] == result.place[0]]
            is_new = not ends or (ends[-1] is not None and ends[-1] <= result.place[1])
            if is_new and not _again(result, resuming):
                kept.append(result)
        return kept

    def _tell(self, result: SpanResult, span: AudioSpan) -> None:
        if span.windows is None:  # not only some windows of a recording that counts elsewhere
            PROGRESS.add(audio_s=seconds_of(result))


def _again(result: SpanResult, resuming: Resuming) -> bool:
    """Whether a span that is done is to be done again."""
    lifted = any(failure.retryable or failure.kind in _LIFTED for failure in result.failures)
    return lifted or (resuming.retry_failed and result.has_failed)


def _is_in(place: Place, span: AudioSpan) -> bool:
    """Whether what begins there is this range's of the recording."""
    start_s = place[1]
    return span.start_s <= start_s and (span.stop_s is None or start_s < span.stop_s)


def _resumed(unit: Unit, done: Sequence[SpanResult], index: LogIndex) -> Unit:
    """The unit, with what is known of it from before.

    Other ranges of it may be under way in other processes, which have not died; and who died of a span that
    is done now did not die of what is missing.
    """
    keys = index.keys_of(unit.key)
    is_done = {result.key for result in done}
    open_here = [key for key in keys if key not in is_done and _is_in(place_of(key), unit.span)]
    return replace(
        unit,
        done=tuple((result.place[0], result.range) for result in done),
        attempts={key: index.next_attempt(key) for key in keys if key in index},
        n_channels=max((result.n_channels for result in done), default=1),
        n_deaths=max((index.n_open[key] for key in open_here), default=0),
    )


def _lacks_channels(unit: Unit) -> bool:
    others = range(1, unit.n_channels)
    return unit.span.split and any(next(unit.missing(one, BLOCK_S), None) is not None for one in others)


def outputs_of(result: SpanResult) -> Iterator[Output]:
    """What a span gives to the stages behind, counted."""
    for name, n in result.all_counts().items():
        count(name, n)
    for window in result.windows:
        yield window.audio_id, window
    for part in result.parts:
        yield TaggedOutput(PARTS, (part.source.audio_id, part))
    yield from map(failed, result.failures)
