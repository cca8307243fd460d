"""The reading of a unit: its file is fetched once, and decoded span by span."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from model.interface import SAMPLE_RATE
from transforms.checkpoint.spans import Begun, Ended, Place, Step, Unit, span_key
from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import caught
from transforms.core.metrics import timed
from transforms.core.progress import PROGRESS
from transforms.core.recording_parts import Coverage, Range
from transforms.core.redaction import redact
from transforms.core.types import AudioSource, Failure, RecordingPart, of_channel
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import Reading, WindowPlan


class UnitReading:
    """Reads what is missing of a unit, one span after the other: all channels, or one."""

    def __init__(self, unit: Unit, plan: WindowPlan, policy: FetchPolicy, span_s: int) -> None:
        self._unit, self._plan, self._policy, self._span_s = unit, plan, policy, span_s
        self._source = replace(unit.span.source, payload=None)
        self._name = uuid.uuid4().hex
        self._n_begun = 0
        self._is_open = False
        self._told_s = float(unit.span.start_s)  # seconds that were counted as read

    def steps(self) -> Iterator[tuple[str, Step]]:
        """Its steps, each with the name of its span.

        An exception ends them, with a `Failure` of the span that was read.
        """
        for step in caught(timed(self._all_steps(), "read"), self._unit.span.source, "decode"):
            PROGRESS.check()
            if isinstance(step, Failure) and not self._is_open:  # nothing could be opened
                yield self._named(self._begun(*self._first_missing()))
            yield self._named(step)
        if self._is_open:
            yield self._named(Ended())
        if self._is_first_look and self._unit.span.start_s == 0:
            PROGRESS.add(recordings=1)

    @property
    def _is_first_look(self) -> bool:
        """A second look at a recording has nothing new to say of it as a whole."""
        return self._unit.span.windows is None

    def _named(self, step: Step) -> tuple[str, Step]:
        if isinstance(step, Begun):
            self._n_begun += 1
        self._is_open = not isinstance(step, Ended)
        return f"{self._name}/{self._n_begun}", step

    def _begun(self, channel: int, start_s: int) -> Begun:
        key = span_key(self._unit.key, (channel, start_s))
        attempt = self._unit.attempts.get(key, 1)
        return Begun(key, (channel, start_s), attempt, alone=self._unit.n_deaths > 0)

    def _first_missing(self) -> Place:
        for channel in range(self._unit.n_channels):
            for start_s, _ in self._unit.missing(channel, self._span_s):
                return channel, start_s
        return 0, self._unit.span.start_s

    def _all_steps(self) -> Iterator[Step]:
        with open_audio(self._unit.span.source, self._policy) as file:
            if not self._is_first_look:
                yield from self._second_look(file)
                return
            channel, n_channels = 0, self._unit.n_channels
            while channel < n_channels:
                ranges = self._unit.missing(channel, self._span_s)
                first = next(ranges, None)
                if first is not None:
                    steps = self._channel(file, channel, itertools.chain([first], ranges))
                    n_channels = max(n_channels, (yield from steps))
                channel += 1

    def _second_look(self, file: BinaryIO) -> Iterator[Step]:
        span = self._unit.span
        yield self._begun(0, 0)
        reading = self._reading(file, self._source, self._plan.first_chapter(span))
        for _, window in reading.windows():
            if window is not None:
                yield self._source, window

    def _channel(self, file: BinaryIO, channel: int, ranges: Iterator[Range]) -> Generator[Step, None, int]:
        """Reads the ranges of a recording that are missing; gives how many channels the file has."""
        source = of_channel(self._source, channel) if self._unit.span.split else self._source
        start_s, stop_s = next(ranges)
        self._told_s = float(start_s)
        yield self._begun(channel, start_s)
        reading = self._reading(file, source, self._plan.chapters.at(start_s))
        try:
            yield from self._spans(reading, source, channel, (start_s, stop_s), ranges)
        except AudioError as error:
            if not self._unit.span.split or not reading.n_channels:  # all of the file is lost, and no channel
                raise
            yield to_failure(source, error)
            yield Ended(None, reading.n_channels)
        return self._n_channels(reading)

    def _n_channels(self, reading: Reading) -> int:
        return reading.n_channels if self._unit.span.split else 1

    def _reading(self, file: BinaryIO, source: AudioSource, chapter: int) -> Reading:
        return Reading(file, replace(self._unit.span, source=source), self._plan, chapter)

    def _spans(
        self, reading: Reading, source: AudioSource, channel: int, first: Range, ranges: Iterator[Range]
    ) -> Iterator[Step]:
        span = SpanTally(reading, source, first)
        for planned, window in reading.windows(self._unit.span.stop_s):
            at_s = planned.place / SAMPLE_RATE
            while span.stop_s is not None and at_s >= span.stop_s:
                yield from self._close(span, span.stop_s)
                following = next(ranges, None)
                if following is None:
                    return
                span = SpanTally(reading, source, following)
                yield self._begun(channel, span.start_s)
            if at_s >= span.start_s:  # else it is of a range that was done before
                span.add(planned, is_silent=window is None)
                self._tell(min(planned.pieces[-1][1] / SAMPLE_RATE, span.stop_s or math.inf))
                if window is not None:
                    yield source, window
        yield from self._last_spans(reading, source, channel, span, ranges)

    def _last_spans(
        self,
        reading: Reading,
        source: AudioSource,
        channel: int,
        span: SpanTally,
        ranges: Iterator[Range],
    ) -> Iterator[Step]:
        """Closes the spans in which no further window is."""
        if span.start_s and reading.ends_before(span.start_s):
            if span.start_s > self._unit.span.start_s:
                yield _shortened(source, span.start_s)
            yield Ended()
            return
        while True:
            is_last = reading.ends_before(span.stop_s)
            yield from self._close(span, None if is_last else span.stop_s)
            following = None if is_last else next(ranges, None)
            if following is None:
                return
            span = SpanTally(reading, source, following)
            yield self._begun(channel, span.start_s)

    def _close(self, span: SpanTally, stop_s: int | None) -> Iterator[Step]:
        part = span.part(stop_s)
        self._tell(stop_s if part.n_samples is None else part.n_samples / SAMPLE_RATE)
        yield part
        yield Ended(stop_s, self._n_channels(span.reading))

    def _tell(self, read_s: float | None) -> None:
        """Adds to the progress up to a second of the recording."""
        if read_s is not None and read_s > self._told_s:
            PROGRESS.add(audio_s=read_s - self._told_s)
            self._told_s = read_s


@dataclass
class SpanTally:
    """What was read of a span so far."""

    reading: Reading
    source: AudioSource
    range: Range
    n_windows: int = 0
    n_skipped: int = 0
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def start_s(self) -> int:
        """Where it begins."""
        return self.range[0]

    @property
    def stop_s(self) -> int | None:
        """Where it ends; None for the recording's end."""
        return self.range[1]

    def add(self, planned: PlannedWindow, *, is_silent: bool) -> None:
        """Adds a window of it."""
        self.n_windows += 1
        if is_silent:
            self.n_skipped += 1
        else:
            self.coverage.add(planned.pieces)

    def part(self, stop_s: int | None) -> RecordingPart:
        """All that is to be told of it.

        Its source has no payload and its URI no credentials, for it goes into the rows, and no more to be
        fetched.

        Args:
            stop_s: where it ended; None with the recording.
        """
        is_last = stop_s is None
        return RecordingPart(
            source=replace(self.source, uri=redact(self.source.uri), payload=None),
            start_s=self.start_s,
            stop_s=stop_s,
            n_windows=self.n_windows,
            n_skipped=self.n_skipped,
            n_spoken=self.reading.spoken(self.start_s, stop_s),
            covered=self.coverage.covered,
            gaps=tuple(self.coverage.gaps),
            damage=self.reading.damage(self.start_s, stop_s),
            n_samples=self.reading.n_samples if is_last else None,
            declared_s=self.reading.declared_s if is_last else None,
        )


def _shortened(source: AudioSource, start_s: int) -> Failure:
    reason = (
        f"it ends before second {start_s}, up to which it was transcribed before: it has changed since; "
        "give another --output, or --overwrite, to transcribe it from its start"
    )
    return to_failure(source, AudioError("decode", "changed", reason))
