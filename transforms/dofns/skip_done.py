"""Looks up spans in the commit log: emits committed results, and what is missing as work units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from transforms.checkpoint.commit_log import LogIndex, read_index
from transforms.checkpoint.resume import (
    ResumeSettings,
    committed_results,
    is_complete,
    is_in_range,
    with_history,
)
from transforms.checkpoint.spans import (
    MAX_CRASHES,
    SpanResult,
    WorkUnit,
    quarantined,
    seconds_of,
    work_unit_key,
)
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSpan, Failure, RecordingPart, WindowTranscript
from transforms.dofns.counters import BEAM_METRICS
from transforms.dofns.tags import PARTS, UNFINISHED, UNITS, failed

_LAST_INDEX: list[LogIndex] = []
"""The index that was read last: `Shared` alone would drop it between two steps, and read it again."""

Output = tuple[str, WindowTranscript] | TaggedOutput[str, Failure | tuple[str, RecordingPart]]
Skipped = Output | TaggedOutput[str, WorkUnit] | TaggedOutput[str, str]


class SkipDone(beam.DoFn):
    """Emits the committed results of a span, and what is missing of it as a `WorkUnit`, tagged `UNITS`.

    With `committed_only`, the audio_id of a recording that is not finished is emitted on `UNFINISHED`.

    Args:
        resume: settings of resumption; None if there is no commit log.
        shared: handle of the index of the log, which a process reads once.
    """

    def __init__(self, resume: ResumeSettings | None, shared: Shared) -> None:
        self._resume = resume
        self._shared = shared
        self._index: LogIndex | None = None

    def setup(self) -> None:
        """Reads the log."""
        if self._resume is not None:
            log = self._resume.log
            self._index = self._shared.acquire(lambda: read_index(log))
            _LAST_INDEX[:] = [self._index]

    def process(self, span: AudioSpan) -> Iterator[Skipped]:
        """Looks up the span in the log."""
        unit = WorkUnit(work_unit_key(span), span)
        if self._resume is not None and self._index is not None:
            done = committed_results(unit, self._index, self._resume)
            if self._resume.committed_only and not is_complete(with_history(unit, done, self._index)):
                if span.windows is None:
                    yield TaggedOutput(UNFINISHED, span.source.audio_id)
                return
            for result in done:
                if not is_in_range(result.start, span):
                    continue
                if span.windows is None:  # a second pass reads the same audio again
                    PROGRESS.add(audio_s=seconds_of(result))
                yield from outputs_of(result)
            unit = with_history(unit, done, self._index)
            if unit.n_crashes >= MAX_CRASHES and not self._resume.retry_failed:
                yield from outputs_of(quarantined(unit))
                return
        if not is_complete(unit):
            yield TaggedOutput(UNITS, unit)
        elif span.windows is None and span.start_s == 0:
            # If workers share the recording, other ranges of it may be missing.
            recording = replace(unit, span=replace(span, stop_s=None))
            is_done = int(is_complete(recording))
            BEAM_METRICS.count("resumed", is_done)
            PROGRESS.add(recordings=1, resumed=is_done)


def outputs_of(result: SpanResult) -> Iterator[Output]:
    """Yields the windows, parts and failures of a span as elements, and counts them."""
    for name, n in result.all_counts().items():
        BEAM_METRICS.count(name, n)
    for window in result.windows:
        yield window.audio_id, window
    for part in result.parts:
        yield TaggedOutput(PARTS, (part.source.audio_id, part))
    yield from map(failed, result.failures)
