"""The fused stage: read, transcribe in batches. Samples never leave it; what leaves is text and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared

from model.interface import TranscriberSettings, WindowResult
from transforms.checkpoint.commit_log import LogWriter
from transforms.checkpoint.isolation import Room
from transforms.checkpoint.pending_spans import OpenSpans
from transforms.checkpoint.resume import Resuming
from transforms.checkpoint.spans import Begun, Ended, Step, seconds_of, to_record
from transforms.core.metrics import count, count_seconds, distribute
from transforms.core.progress import PROGRESS
from transforms.core.types import (
    AudioSpan,
    Failure,
    RecordingPart,
    WindowTranscript,
)
from transforms.dofns.read_windows import ReadWindows
from transforms.dofns.skip_done import Output, SkipDone, outputs_of
from transforms.dofns.tags import FAILURES, PARTS, UNITS, WINDOWS
from transforms.fetch.policy import CAREFUL, FetchPolicy
from transforms.recognition.batching import Lanes
from transforms.recognition.fallback import NOT_SURE, Fallback
from transforms.recognition.hallucinations import FILTERS, Heard, filtered
from transforms.recognition.loaded_model import LoadedModel, LoadTranscriber
from transforms.recognition.model_calls import check_model, transcribe_each
from transforms.recognition.window_decode import Hearing
from transforms.recognition.window_transcript import to_window_transcript, window_failure, within_speech
from transforms.windows.plan import WindowPlan

ROOM = Room()
"""Of the bundles of this process that have begun something."""


@dataclass
class TranscribeSpans(beam.PTransform[PCollection[AudioSpan], dict[str, PCollection[Any]]]):
    """`AudioSpan`s into what was said in their windows, keyed by `audio_id`.

    The result is a dict: `windows` of (audio_id, WindowTranscript), `parts` of (audio_id, RecordingPart),
    of those spans that want all their windows, and `failures` of Failure.

    Args:
        shared: the handle of the model; the same for every use, so that a process loads one.
        plan: how recordings are cut.
        fallback: which windows to decode again, and hotter.
        filters: names of the hallucination filters that are on.
        policy: what may be fetched.
        span_s: the most seconds of a recording that are committed at a time; a multiple of 30.
        resuming: where to keep what is done, and to find what was; None for neither.
    """

    settings: TranscriberSettings
    load: LoadTranscriber
    shared: Shared
    plan: WindowPlan
    fallback: Fallback = field(default_factory=Fallback)
    filters: tuple[str, ...] = tuple(FILTERS)
    policy: FetchPolicy = CAREFUL
    span_s: int = 1800
    resuming: Resuming | None = None

    def expand(self, spans: PCollection[AudioSpan]) -> dict[str, PCollection[Any]]:
        """Skip, read, transcribe and commit; Beam fuses them, as nothing between them is a grouping."""
        before = spans | "Skip what is done" >> beam.ParDo(SkipDone(self.resuming, Shared())).with_outputs(
            UNITS, PARTS, FAILURES, main=WINDOWS
        )
        log = None if self.resuming is None else self.resuming.log
        said = (
            before[UNITS]
            | "Read windows" >> beam.ParDo(ReadWindows(self.plan, self.policy, self.span_s))
            | "Transcribe windows"
            >> beam.ParDo(
                TranscribeWindows(self.settings, self.load, self.shared, self.fallback, self.filters, log)
            ).with_outputs(PARTS, FAILURES, main=WINDOWS)
        )
        return {
            name: (before[name], said[name]) | f"All {name}" >> beam.Flatten()
            for name in (WINDOWS, PARTS, FAILURES)
        }


Answer = tuple[list[WindowResult | Exception], float]
"""What the model said of each window of a batch, and the seconds that it took."""


class TranscribeWindows(beam.DoFn):
    """The steps of reading into what was said, as (audio_id, WindowTranscript); the bad windows are failures.

    A span is committed to the log as soon as all its windows are done, and given on then. Batches are
    transcribed in other threads (`transforms.recognition.batching`) while the next windows are read. Windows
    that are to be
    decoded hotter wait until they fill a batch, or for the end of the bundle; one in which the model stopped
    while somebody speaks on is taken like a new one.
    """

    def __init__(
        self,
        settings: TranscriberSettings,
        load: LoadTranscriber,
        shared: Shared,
        fallback: Fallback,
        filters: tuple[str, ...],
        log: str | None = None,
    ) -> None:
        self._settings = settings
        self._load = load
        self._shared = shared
        self._fallback = fallback
        self._filters = filters
        self._log = log
        self._writer: LogWriter | None = None
        self._model: LoadedModel | None = None
        self._lanes: Lanes[Hearing, Answer] | None = None
        self._spans = OpenSpans()

    def start_bundle(self) -> None:
        """Forgets what a bundle that failed left behind.

        Lanes are of one bundle: a generator that it left suspended may be closed, and clear its own, later.
        """
        if self._lanes is not None:
            self._lanes.clear()
        self._lanes = None
        if self._writer is not None:
            with suppress(OSError):  # what made it give up is to be told, and not this
                self._writer.leave_open()  # this process has not died of them
        ROOM.leave(self)
        self._spans = OpenSpans()

    def teardown(self) -> None:
        """Beam gives up a bundle with this: calls that have not begun are not made."""
        self.start_bundle()
        if self._writer is not None:
            self._writer.close()

    def process(self, element: tuple[str, Step]) -> Iterator[Output]:
        """Loads the model at the first window (a run in which nothing can be read needs none)."""
        name, step = element
        match step:
            case Begun():
                yield from self._begin(name, step)
            case Ended():
                alone = self._spans.end(name, step)
                yield from self._said(end=alone)
                if alone:
                    ROOM.leave(self)
            case RecordingPart() | Failure():
                self._spans.add(name, step)
            case source, window:
                self._spans.wait(name)
                lanes = self._lanes or self._open_lanes()
                lanes.add(Hearing(source, window, name))
                yield from self._said(end=False)

    def finish_bundle(self) -> Iterator[Any]:
        """Gives what is still waited for."""
        for output in self._said(end=True):
            if isinstance(output, TaggedOutput):
                yield TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
            else:
                yield GlobalWindows.windowed_value(output)
        ROOM.leave(self)

    def _begin(self, name: str, begun: Begun) -> Iterator[Output]:
        if self._log is not None:
            self._writer = self._writer or LogWriter(self._log)
            if (
                begun.alone or ROOM.wanted
            ):  # one may kill this process, which shall not be held against others
                yield from self._said(end=True)
                ROOM.leave(self)
            ROOM.enter(self, alone=begun.alone, check=PROGRESS.check)
            if begun.key not in self._spans.open_keys():  # a recording that is named twice dies but once
                self._writer.begin([begun.key])
        self._spans.begin(name, begun)

    def _open_lanes(self) -> Lanes[Hearing, Answer]:
        PROGRESS.check()
        self._model = model = self._shared.acquire(self._timed_load)
        n_lanes, batch_size = model.transcriber.n_lanes, model.transcriber.batch_size
        self._lanes = Lanes(model.executor, n_lanes, batch_size, self._ask, PROGRESS.check)
        return self._lanes

    def _ask(self, hearings: Sequence[Hearing]) -> Answer:
        """Runs in a lane: no counters here, which belong to Beam's thread."""
        PROGRESS.check()  # an interrupt may meet Beam's thread where nobody takes queued calls back
        assert self._model is not None
        transcriber, started = self._model.transcriber, perf_counter()
        results = transcribe_each(transcriber, [hearing.request(self._fallback) for hearing in hearings])
        if all(isinstance(result, Exception) for result in results):
            check_model(transcriber)
        return results, perf_counter() - started

    def _said(self, *, end: bool) -> Iterator[Output]:
        """Gives the spans that are done by now, or at the end all, committed first."""
        yield from self._committed()
        if self._lanes is None:
            return
        for hearings, (results, seconds) in self._lanes.results(end=end):
            assert self._model is not None
            self._model.count(seconds)
            distribute("batch_windows", len(hearings))
            distribute("batch_model_ms", 1000 * seconds)
            for hearing, result in zip(hearings, results, strict=True):
                self._go_on(self._lanes, self._after(hearing, result))
            yield from self._committed()

    def _committed(self) -> Iterator[Output]:
        results = self._spans.take_done()
        if self._writer is not None:
            try:
                self._writer.commit([(result.key, to_record(result)) for result in results])
            except BaseException:  # it is the disk that failed, and not these
                with suppress(OSError):
                    self._writer.leave([result.key for result in results])
                raise
        for result in results:
            count("new_ms", round(1000 * seconds_of(result)))
            yield from outputs_of(result)

    def _after(self, hearing: Hearing, result: WindowResult | Exception) -> Hearing:
        if not isinstance(result, Exception):
            return self._heard(hearing, result)
        self._spans.add(hearing.span, window_failure(hearing.source, hearing.next_window, result))
        return hearing.given_up(self._fallback)

    def _go_on(self, lanes: Lanes[Hearing, Answer], after: Hearing) -> None:
        if after.attempts:
            # One that fails again has all temperatures before it.
            lanes.add_again(after, urgency=len(after.attempts))
        elif after.start is not None:
            lanes.add(after)
        else:
            self._spans.came(after.span, self._finished(after) if after.looks else None)

    def _heard(self, hearing: Hearing, result: WindowResult) -> Hearing:
        after = hearing.heard(result, self._fallback)
        if len(after.attempts) > len(hearing.attempts):
            self._spans.count(hearing.span, f"failed_{self._fallback.reason(result) or NOT_SURE}")
        elif len(after.looks) == len(hearing.looks):
            self._spans.count(hearing.span, "remainders_dropped")
        elif after.start is not None:
            self._spans.count(hearing.span, "remainders")
        return after

    def _finished(self, hearing: Hearing) -> WindowTranscript:
        add = partial(self._spans.count, hearing.span)
        add("windows")
        add("windows_fallback", any(look.fallback for look in hearing.looks))
        repeats = any(self._fallback.repeats(look.result) for look in hearing.looks)
        said = Heard(to_window_transcript(hearing.window, hearing.looks), repeats)
        window, taken = filtered(said, self._filters)
        for name, n_segments in taken.items():
            add(f"filtered_{name}", n_segments)
        add("windows_without_text", not window.segments)
        return within_speech(window)

    def _timed_load(self) -> LoadedModel:
        started = perf_counter()
        model = LoadedModel(self._load(self._settings))
        count_seconds("load", perf_counter() - started)
        return model
