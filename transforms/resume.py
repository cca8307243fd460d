"""What was committed before is not done again: the Beam half of `transforms.commit_log`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from transforms.commit_log import LogIndex, read_index
from transforms.progress import PROGRESS, count
from transforms.read import RECORDINGS, UNITS, failed
from transforms.types import AudioSpan, Failure, Recording, WindowTranscript
from transforms.units import MAX_DEATHS, SpanResult, Unit, from_record, quarantined, seconds_of, unit_key


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

Output = tuple[str, WindowTranscript] | TaggedOutput[str, Failure | tuple[str, Recording]]


class SkipDone(beam.DoFn):
    """Gives a span on as `Unit`, tagged `UNITS`, or else what came out of it when it was done before.

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
            n_deaths = max(self._index.n_open[unit.key], 0)
            unit = Unit(unit.key, span, self._index.next_attempt(unit.key), n_deaths)
            result = self._done_before(unit, self._index, self._resuming)
            if result is not None:
                if unit.key in self._index:
                    self._tell(result, span)
                yield from outputs_of(result)
                return
        yield TaggedOutput(UNITS, unit)

    def _done_before(self, unit: Unit, index: LogIndex, resuming: Resuming) -> SpanResult | None:
        if unit.key not in index:
            too_often = unit.n_deaths >= MAX_DEATHS and not resuming.retry_failed
            return quarantined(unit) if too_often else None
        try:
            result = from_record(index.read(unit.key), unit.span.source)
        except msgspec.ValidationError:  # of another version of the records: it is done again
            return None
        again = any(failure.retryable or failure.kind in _LIFTED for failure in result.failures)
        return None if again or (result.failures and resuming.retry_failed) else result

    def _tell(self, result: SpanResult, span: AudioSpan) -> None:
        if span.windows is None:  # not only some windows of a recording that counts elsewhere
            audio_s = seconds_of(result)
            count("resumed")
            count("resumed_ms", round(1000 * audio_s))
            PROGRESS.add(recordings=1, resumed=1, audio_s=audio_s)


def outputs_of(result: SpanResult) -> Iterator[Output]:
    """What a span gives to the stages behind, counted."""
    for name, n in result.all_counts().items():
        count(name, n)
    for window in result.windows:
        yield window.audio_id, window
    for recording in result.recordings:
        yield TaggedOutput(RECORDINGS, (recording.source.audio_id, recording))
    yield from map(failed, result.failures)
