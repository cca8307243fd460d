"""One recording from its source to its `Transcript`, without Beam: read, recognise, vote, second pass, merge.

The pipeline's DoFns call the same functions, so a recording has the same row either way, to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from model.interface import DecodingOptions
from transforms.checkpoint.spans import WorkUnit
from transforms.core.recording_parts import complete_parts
from transforms.core.run_context import RunContext
from transforms.core.sections import SPAN_S
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    Failure,
    Recording,
    RecordingPart,
    Segment,
    Transcript,
    WindowTranscript,
)
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.merging.assemble import assemble
from transforms.merging.merge import WindowMerger
from transforms.merging.second_pass import second_pass_of
from transforms.merging.settings import MergeSettings
from transforms.merging.time_shift import shifted_segment
from transforms.reading.span_reader import SpanReader
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.recognizer import FinishedWindow, ModelClient, Recognizer
from transforms.windows.plan import WindowPlan


@dataclass(frozen=True)
class TranscribedRecording:
    """The result of one recording.

    Attributes:
        recording: what was read; None if it could not be read to its end.
        transcript: its transcript; None if there is none, for the reasons in `failures`.
        failures: failures of the recording and of its windows.
    """

    recording: Recording | None
    transcript: Transcript | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class RecordingTranscriber:
    """Transcribes recordings one at a time. Threads may share one.

    Args:
        new_client: makes the client of the model for one recording (`LoadedModel.client`).
        plan: how recordings are cut into windows.
        merge: how windows are merged.
        decoding: task, timestamps, words, prompt and hotwords of each request.
        fallback: decides when a window is decoded again.
        filters: names of the hallucination filters that are on.
        fetch: which URIs may be fetched.
        context: its check is called between two blocks of audio, and during waits for the model.
        opener: opens the file of a recording.
    """

    new_client: Callable[[], ModelClient]
    plan: WindowPlan
    merge: MergeSettings
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    fallback: FallbackPolicy = field(default_factory=FallbackPolicy)
    filters: tuple[str, ...] = tuple(FILTERS)
    fetch: FetchPolicy = DEFAULT_POLICY
    context: RunContext = field(default_factory=RunContext)
    opener: Opener = open_audio

    def transcribe(self, source: AudioSource) -> TranscribedRecording:
        """Transcribes a recording. Problems with it are failures, not exceptions.

        Raises:
            ModelError: the model does not work at all.
        """
        segments = self.stream(source)
        while True:
            try:
                next(segments)
            except StopIteration as stop:
                result: TranscribedRecording = stop.value
                return result

    def stream(self, source: AudioSource) -> Generator[Segment, None, TranscribedRecording]:
        """Yields the segments as they become final, and returns the result.

        Segments become final while the recording is read if no window can be decoded a second time: with a
        language, or one per window, and without `redecode_below`. Otherwise all are yielded at the end. The
        segments yielded early are the first ones of the transcript, if there is one.

        Args:
            source: the recording; its channel, if it has one, is the one to be transcribed.

        Raises:
            ModelError: the model does not work at all.
        """
        may_change = self.merge.may_redecode(source)
        first = _PassResults(merger=None if may_change else WindowMerger())
        offset_s, n_yielded = source.start_s or 0.0, 0
        for finished in self._recognise(AudioSpan(source, self.merge.language_of(source)), first):
            for segment in first.finish(finished):
                n_yielded += 1
                yield shifted_segment(segment, offset_s)
        second = _PassResults()
        span = self._second_span(source, first) if may_change else None
        if span is not None:
            for finished in self._recognise(span, second):
                second.finish(finished)
        assembled = assemble(first.parts, first.windows, second.windows, self.merge)
        if assembled.transcript is not None:
            yield from assembled.transcript.segments[n_yielded:]
        failures = (*first.failures, *second.failures, *assembled.failures)
        return TranscribedRecording(assembled.recording, assembled.transcript, failures)

    def _second_span(self, source: AudioSource, first: _PassResults) -> AudioSpan | None:
        """Returns the span of the windows to be decoded a second time, if there are any."""
        if not first.windows or not complete_parts(first.parts):
            return None
        second_pass = second_pass_of(source, first.windows, self.merge)
        return None if second_pass is None else second_pass.span_of(source)

    def _recognise(self, span: AudioSpan, results: _PassResults) -> Iterator[FinishedWindow]:
        """Reads a span, and decodes its windows while reading continues."""
        recognizer = Recognizer(self.new_client(), self.decoding, self.fallback, self.filters)
        unit = WorkUnit("", span)
        reader = SpanReader(unit, self.plan, self.fetch, SPAN_S, self.context, self.opener)
        try:
            for _, event in reader.events():
                match event:
                    case RecordingPart():
                        results.parts.append(event)
                    case Failure():
                        results.failures.append(event)
                    case source, window:
                        results.submitted.append(window.index)
                        recognizer.submit(source, window, str(window.index))
                        for finished in recognizer.completed(wait=False):
                            yield from self._counted(finished)
            for finished in recognizer.completed(wait=True):
                yield from self._counted(finished)
        finally:
            recognizer.cancel()

    def _counted(self, finished: list[FinishedWindow]) -> list[FinishedWindow]:
        for window in finished:
            for name, n in window.counts.items():
                self.context.metrics.count(name, n)
        return finished


@dataclass
class _PassResults:
    """The results of one pass over a recording so far.

    Attributes:
        submitted: indices of the windows that are not merged yet, in order of time.
        merger: merger of the windows so far; None if they may be decoded a second time.
    """

    merger: WindowMerger | None = None
    submitted: deque[int] = field(default_factory=deque)
    parts: list[RecordingPart] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    windows: list[WindowTranscript] = field(default_factory=list)
    _unmerged: dict[int, WindowTranscript] = field(default_factory=dict)

    def finish(self, finished: FinishedWindow) -> list[Segment]:
        """Adds a window, and returns the segments that became final."""
        self.failures.extend(finished.failures)
        self.windows.append(finished.transcript)
        if self.merger is None:
            return []
        self._unmerged[int(finished.key)] = finished.transcript
        while self.submitted and self.submitted[0] in self._unmerged:
            window = self._unmerged.pop(self.submitted.popleft())
            if window.is_decoded:
                self.merger.add(window)
        return self.merger.pop_final()
