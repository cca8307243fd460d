"""The fused stage: read, recognise in batches, commit. It emits text and failures, never samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared

from model.interface import DecodingOptions, ModelOptions
from transforms.checkpoint.isolation import SharedExclusiveLock
from transforms.checkpoint.resume import ResumeSettings
from transforms.checkpoint.span_committer import SpanCommitter
from transforms.checkpoint.spans import ReadEvent, SpanEnded, SpanStarted, seconds_of
from transforms.core.sections import SPAN_S
from transforms.core.types import AudioSpan, Failure, RecordingPart
from transforms.dofns.counters import BEAM_CONTEXT, BEAM_METRICS
from transforms.dofns.read_windows import ReadWindows
from transforms.dofns.skip_done import Output, SkipDone, outputs_of
from transforms.dofns.tags import FAILURES, PARTS, UNFINISHED, UNITS, WINDOWS
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.loaded_model import LoadedModel, LoadTranscriber, load_model
from transforms.recognition.recognizer import ModelClient, Recognizer
from transforms.windows.plan import WindowPlan

LoadModel = Callable[[], LoadedModel]
NewRecognizer = Callable[[ModelClient], Recognizer]

PROCESS_LOCK = SharedExclusiveLock()
"""Held by the bundles of this process that have started a span."""


@dataclass
class TranscribeSpans(beam.PTransform[PCollection[AudioSpan], dict[str, PCollection[Any]]]):
    """Transcribes the windows of `AudioSpan`s, keyed by `audio_id`.

    The result is a dict: `windows` of (audio_id, WindowTranscript), `parts` of (audio_id, RecordingPart) for
    the spans of which all windows are wanted, `failures` of Failure, and `unfinished` (see `SkipDone`).

    Args:
        model: options of the model.
        load: loads the model in a worker.
        shared: handle of the model; the same for every use, so that a process loads one model.
        plan: how recordings are cut.
        decoding: options of each request.
        fallback: decides when a window is decoded again.
        filters: names of the hallucination filters that are on.
        policy: which URIs may be fetched.
        span_s: maximum seconds of a recording that are committed at a time; a multiple of 30, or of a section
            with previous text.
        resume: where spans are committed, and looked up; None for no commit log.
        index: handle of the index of the log; the same for every use, so that a process reads it once.
    """

    model: ModelOptions
    load: LoadTranscriber
    shared: Shared
    plan: WindowPlan
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    fallback: FallbackPolicy = field(default_factory=FallbackPolicy)
    filters: tuple[str, ...] = tuple(FILTERS)
    policy: FetchPolicy = DEFAULT_POLICY
    span_s: int = SPAN_S
    resume: ResumeSettings | None = None
    index: Shared = field(default_factory=Shared)

    def expand(self, spans: PCollection[AudioSpan]) -> dict[str, PCollection[Any]]:
        """Skips, reads, transcribes and commits; Beam fuses these steps, as no grouping separates them."""
        committed = spans | "Skip what is done" >> beam.ParDo(SkipDone(self.resume, self.index)).with_outputs(
            UNITS, PARTS, FAILURES, UNFINISHED, main=WINDOWS
        )
        log = None if self.resume is None else self.resume.log
        load = partial(load_model, self.load, self.model, BEAM_METRICS)
        new_recognizer = partial(
            Recognizer, decoding=self.decoding, fallback=self.fallback, filters=self.filters
        )
        transcribed = (
            committed[UNITS]
            | "Read windows" >> beam.ParDo(ReadWindows(self.plan, self.policy, self.span_s))
            | "Transcribe windows"
            >> beam.ParDo(TranscribeWindows(load, self.shared, new_recognizer, log)).with_outputs(
                PARTS, FAILURES, main=WINDOWS
            )
        )
        both = {
            name: (committed[name], transcribed[name]) | f"All {name}" >> beam.Flatten()
            for name in (WINDOWS, PARTS, FAILURES)
        }
        return {**both, UNFINISHED: committed[UNFINISHED]}


class TranscribeWindows(beam.DoFn):
    """Turns read events into window transcripts; a span is emitted once all its windows are committed.

    Windows are recognised in other threads while the next ones are read; the end of a bundle waits for them.
    """

    def __init__(
        self, load: LoadModel, shared: Shared, new_recognizer: NewRecognizer, log: str | None = None
    ) -> None:
        self._load, self._shared, self._new_recognizer, self._log = load, shared, new_recognizer, log
        self._model: LoadedModel | None = None
        self._committer: SpanCommitter | None = None
        self._recognizer: Recognizer | None = None

    def start_bundle(self) -> None:
        """Drops what a failed bundle left, and its recognizer, whose iterator may be closed later."""
        if self._recognizer is not None:
            self._recognizer.cancel()
        self._recognizer = None
        self._spans.abandon()

    def teardown(self) -> None:
        """Called when Beam abandons a bundle: drops the calls of the model that have not started."""
        self.start_bundle()
        self._spans.close()

    def process(self, element: tuple[str, ReadEvent]) -> Iterator[Output]:
        """Handles an event; loads the model at the first window, as a run without any needs none."""
        name, event = element
        match event:
            case SpanStarted():
                if self._spans.must_finish_before(event):
                    yield from self._finished(wait=True)
                    self._spans.release_lock()
                self._spans.start(name, event)
            case SpanEnded():
                exclusive = self._spans.end(name, event)
                yield from self._finished(wait=exclusive)
                if exclusive:
                    self._spans.release_lock()
            case RecordingPart() | Failure():
                self._spans.add(name, event)
            case source, window:
                self._spans.add_window(name)
                self._recognizer = self._recognizer or self._start_recognizer()
                self._recognizer.submit(source, window, name)
                yield from self._finished(wait=False)

    def finish_bundle(self) -> Iterator[Any]:
        """Waits for the windows that are not finished."""
        for output in self._finished(wait=True):
            yield _windowed(output)
        self._spans.release_lock()

    @property
    def _spans(self) -> SpanCommitter:
        # Created in the worker, as a lock and an open file cannot be pickled.
        self._committer = self._committer or SpanCommitter(self._log, PROCESS_LOCK, BEAM_CONTEXT.check)
        return self._committer

    def _start_recognizer(self) -> Recognizer:
        BEAM_CONTEXT.check()
        # Kept by the DoFn: Beam keeps only the last shared object alive, which may be the index of the log.
        self._model = self._shared.acquire(self._load)
        return self._new_recognizer(self._model.client(BEAM_CONTEXT))

    def _finished(self, *, wait: bool) -> Iterator[Output]:
        """Commits and emits the spans that are finished by now; with `wait`, all that were read."""
        yield from self._committed()
        for windows in self._recognizer.completed(wait=wait) if self._recognizer else ():
            for window in windows:
                self._spans.finish_window(window.key, window.transcript, window.failures, window.counts)
            yield from self._committed()

    def _committed(self) -> Iterator[Output]:
        for result in self._spans.commit_finished():
            BEAM_METRICS.count("new_ms", round(1000 * seconds_of(result)))
            yield from outputs_of(result)


def _windowed(output: Output) -> Any:  # noqa: ANN401  # an element as `finish_bundle` must yield it
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
    return GlobalWindows.windowed_value(output)
