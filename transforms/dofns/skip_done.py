"""Looks up in the commit log what was done before, and passes on what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import apache_beam as beam
import msgspec
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from transforms.checkpoint.commit_log import LogIndex, read_index
from transforms.checkpoint.resume import Resuming, _again, _is_in, _lacks_channels, _resumed
from transforms.checkpoint.spans import (
    MAX_DEATHS,
    SpanResult,
    Unit,
    from_record,
    quarantined,
    seconds_of,
    unit_key,
)
from transforms.core.metrics import count
from transforms.core.progress import PROGRESS
from transforms.core.sections import BLOCK_S
from transforms.core.types import AudioSpan, Failure, RecordingPart, WindowTranscript
from transforms.dofns.tags import PARTS, UNITS, failed

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


def outputs_of(result: SpanResult) -> Iterator[Output]:
    """What a span gives to the stages behind, counted."""
    for name, n in result.all_counts().items():
        count(name, n)
    for window in result.windows:
        yield window.audio_id, window
    for part in result.parts:
        yield TaggedOutput(PARTS, (part.source.audio_id, part))
    yield from map(failed, result.failures)
