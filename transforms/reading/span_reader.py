"""Reads a work unit: its file is fetched once, decoded span by span and cut into windows."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

from model.interface import SAMPLE_RATE
from transforms.audio.decoded_file import AudioFile
from transforms.checkpoint.spans import (
    FIRST_SPAN,
    ReadEvent,
    SpanEnded,
    SpanStart,
    SpanStarted,
    WorkUnit,
    span_key,
)
from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import errors_as_failures
from transforms.core.metrics import timed
from transforms.core.recording_parts import Coverage, Range
from transforms.core.redaction import redact
from transforms.core.run_context import RunContext
from transforms.core.types import AudioSource, Failure, RecordingPart
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.reading.kept_file import AudioOpener
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import WindowPlan
from transforms.windows.window_stream import WindowStream


class SpanReader:
    """Reads the missing spans of a work unit one after the other, for all its tracks.

    Args:
        unit: the unit to read.
        plan: how recordings are cut.
        policy: which URIs may be fetched.
        span_s: maximum seconds of a recording in a span; a multiple of 30.
        context: its check is called between two blocks of audio.
        opener: opens the file of a recording.
    """

    def __init__(
        self,
        unit: WorkUnit,
        plan: WindowPlan,
        policy: FetchPolicy,
        span_s: int,
        context: RunContext,
        opener: AudioOpener = open_audio,
    ) -> None:
        self._unit, self._plan, self._policy, self._span_s = unit, plan, policy, span_s
        self._context, self._open = context, opener
        self._source = replace(unit.span.source, payload=None)
        self._name = uuid.uuid4().hex
        self._n_started = 0
        self._is_open = False
        self._counted_s = float(unit.span.start_s)  # seconds that the progress has counted as read

    def events(self) -> Iterator[tuple[str, ReadEvent]]:
        """Yields the events of the spans, each with a name that is unique to this reading of the span.

        An exception ends the events, with a `Failure` of the span that was being read.
        """
        metrics = self._context.metrics
        events = timed(self._all_events(), "read", metrics)
        for event in errors_as_failures(events, self._unit.span.source, "decode"):
            self._context.check()
            if isinstance(event, Failure) and not self._is_open:  # nothing could be opened
                yield self._named(self._started(self._first_missing()))
            yield self._named(event)
        if self._is_open:
            yield self._named(SpanEnded())
        if self._is_first_pass and self._unit.span.start_s == 0:
            self._context.progress.add(recordings=1)

    @property
    def _is_first_pass(self) -> bool:
        """Whether this is the first pass: a second one adds nothing about the recording as a whole."""
        return self._unit.span.windows is None

    def _named(self, event: ReadEvent) -> tuple[str, ReadEvent]:
        if isinstance(event, SpanStarted):
            self._n_started += 1
        self._is_open = not isinstance(event, SpanEnded)
        return f"{self._name}/{self._n_started}", event

    def _started(self, start: SpanStart) -> SpanStarted:
        key = span_key(self._unit.key, start)
        attempt = self._unit.attempts.get(key, 1)
        return SpanStarted(key, start, attempt, exclusive=self._unit.is_suspect)

    def _first_missing(self) -> SpanStart:
        for track in range(self._unit.n_tracks):
            for start_s, _ in self._unit.missing(track, self._span_s):
                return SpanStart(track, start_s)
        return SpanStart(0, self._unit.span.start_s)

    def _all_events(self) -> Iterator[ReadEvent]:
        with self._open(self._unit.span.source, self._policy, self._context.check) as file:
            if not self._is_first_pass:
                yield from self._second_pass(file)
                return
            track, n_tracks = 0, self._unit.n_tracks
            while track < n_tracks:
                ranges = self._unit.missing(track, self._span_s)
                first = next(ranges, None)
                if first is not None:
                    events = self._track(file, track, itertools.chain([first], ranges))
                    n_tracks = max(n_tracks, (yield from events))
                track += 1

    def _second_pass(self, file: AudioFile) -> Iterator[ReadEvent]:
        span = self._unit.span
        yield self._started(FIRST_SPAN)
        stream = self._stream(file, self._source, self._plan.first_section(span))
        for _, window in stream.windows():
            if window is not None:
                yield self._source, window

    def _track(self, file: AudioFile, track: int, ranges: Iterator[Range]) -> Generator[ReadEvent, None, int]:
        """Reads the ranges of a recording that are missing; returns the number of tracks of the file."""
        source = replace(self._unit.span, source=self._source).track(track)
        start_s, stop_s = next(ranges)
        self._counted_s = float(start_s)
        yield self._started(SpanStart(track, start_s))
        stream = self._stream(file, source, self._plan.section_at(source, start_s))
        try:
            yield from self._spans(stream, source, track, (start_s, stop_s), ranges)
        except AudioError as error:
            if not self._n_known_tracks(stream):  # the whole file is lost, not a track of it
                raise
            yield to_failure(source, error)
            yield SpanEnded(None, self._n_tracks(stream))
        return self._n_tracks(stream)

    def _n_tracks(self, stream: WindowStream) -> int:
        return self._n_known_tracks(stream) or 1

    def _n_known_tracks(self, stream: WindowStream) -> int:
        """Returns the number of tracks; 0 if it is not known, or the file is one recording."""
        if self._unit.span.split:
            return stream.n_channels
        return len(stream.streams) if self._unit.span.all_streams else 0

    def _stream(self, file: AudioFile, source: AudioSource, section: int) -> WindowStream:
        span = replace(self._unit.span, source=source)
        return WindowStream(file, span, self._plan, section, self._context.check)

    def _spans(
        self, stream: WindowStream, source: AudioSource, track: int, first: Range, ranges: Iterator[Range]
    ) -> Iterator[ReadEvent]:
        span = SpanProgress(stream, source, first)
        for planned, window in stream.windows(self._unit.span.stop_s):
            at_s = planned.position / SAMPLE_RATE
            while span.stop_s is not None and at_s >= span.stop_s:
                yield from self._close(span, span.stop_s)
                following = next(ranges, None)
                if following is None:
                    return
                span = SpanProgress(stream, source, following)
                yield self._started(SpanStart(track, span.start_s))
            if at_s >= span.start_s:  # else it belongs to a range that was committed before
                span.add(planned, is_silent=window is None)
                self._count(min(planned.stretches[-1][1] / SAMPLE_RATE, span.stop_s or math.inf))
                if window is not None:
                    yield source, window
        yield from self._last_spans(stream, source, track, span, ranges)

    def _last_spans(
        self,
        stream: WindowStream,
        source: AudioSource,
        track: int,
        span: SpanProgress,
        ranges: Iterator[Range],
    ) -> Iterator[ReadEvent]:
        """Closes the spans that have no further window."""
        is_before = span.start_s > 0 and stream.ends_before(span.start_s)
        if is_before and not self._has_no_end_of_its_own(source, span):
            if span.start_s > self._unit.span.start_s:
                yield _shortened(source, span.start_s)
            yield SpanEnded()
            return
        may_end = not source.clip_timestamps or self._unit.span.stop_s is None
        while True:
            is_last = may_end and stream.ends_before(span.stop_s)
            yield from self._close(span, None if is_last else span.stop_s)
            following = None if is_last else next(ranges, None)
            if following is None:
                return
            span = SpanProgress(stream, source, following)
            yield self._started(SpanStart(track, span.start_s))

    def _has_no_end_of_its_own(self, source: AudioSource, span: SpanProgress) -> bool:
        """Whether a span is closed although the recording ends before it.

        Where a recording has clips, no reader may read all of it. So that of its last range closes it,
        wherever the file ends, and no other one does.
        """
        unit = self._unit.span
        return bool(source.clip_timestamps) and (unit.stop_s is not None or span.start_s == unit.start_s)

    def _close(self, span: SpanProgress, stop_s: int | None) -> Iterator[ReadEvent]:
        part = span.part(stop_s)
        self._count(stop_s if part.n_samples is None else part.n_samples / SAMPLE_RATE)
        yield part
        yield SpanEnded(stop_s, self._n_tracks(span.stream))

    def _count(self, read_s: float | None) -> None:
        """Adds the audio up to a time of the recording to the progress."""
        if read_s is not None and read_s > self._counted_s:
            self._context.progress.add(audio_s=read_s - self._counted_s)
            self._counted_s = read_s


@dataclass
class SpanProgress:
    """Counts and coverage of a span, as far as it was read."""

    stream: WindowStream
    source: AudioSource
    range: Range
    n_windows: int = 0
    n_skipped: int = 0
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def start_s(self) -> int:
        """Start of the span in seconds."""
        return self.range[0]

    @property
    def stop_s(self) -> int | None:
        """End of the span in seconds; None for the recording's end."""
        return self.range[1]

    def add(self, planned: PlannedWindow, *, is_silent: bool) -> None:
        """Adds a window of the span."""
        self.n_windows += 1
        if is_silent:
            self.n_skipped += 1
        else:
            self.coverage.add(planned.stretches)

    def part(self, stop_s: int | None) -> RecordingPart:
        """Returns the record of the span.

        Its source has no payload and its URI no credentials: it goes into the rows, and is not fetched.

        Args:
            stop_s: end of the span in seconds; None if it ended with the recording.
        """
        is_last = stop_s is None
        return RecordingPart(
            source=replace(self.source, uri=redact(self.source.uri), payload=None),
            start_s=self.start_s,
            stop_s=stop_s,
            n_windows=self.n_windows,
            n_skipped=self.n_skipped,
            n_speech_samples=self.stream.n_speech_samples(self.start_s, stop_s),
            covered=self.coverage.covered,
            gaps=tuple(self.coverage.gaps),
            damage=self.stream.damage(self.start_s, stop_s),
            n_samples=self.stream.n_samples if is_last else None,
            declared_s=self.stream.declared_s if is_last else None,
            streams=self.stream.streams,
        )


def _shortened(source: AudioSource, start_s: int) -> Failure:
    reason = (
        f"it ends before second {start_s}, up to which it was transcribed before: it has changed since; "
        "give another --output, or --overwrite, to transcribe it from its start"
    )
    return to_failure(source, AudioError("decode", "changed", reason))
