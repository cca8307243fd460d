"""Spans that are being worked on, and the results of each so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from transforms.checkpoint.spans import SpanEnded, SpanResult, SpanStarted
from transforms.core.types import Failure, RecordingPart, WindowTranscript


@dataclass
class _PendingSpan:
    started: SpanStarted
    n_pending: int = 0  # windows that were read and are not finished
    ended: SpanEnded | None = None
    windows: list[WindowTranscript] = field(default_factory=list)
    parts: list[RecordingPart] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def result(self) -> SpanResult:
        # Windows finish in the order of their batches, which differs between runs.
        windows = sorted(self.windows, key=lambda window: (window.audio_id, window.index))
        failures = sorted(self.failures, key=lambda failure: (failure.audio_id, failure.message))
        ended = self.ended or SpanEnded()
        return SpanResult(
            self.started.key,
            self.started.start,
            ended.stop_s,
            ended.n_tracks,
            tuple(windows),
            tuple(self.parts),
            tuple(failures),
            dict(sorted(self.counts.items())),
            self.started.attempt,
        )


class PendingSpans:
    """Spans by the name of their reading; a recording that is listed twice is read twice at the same time."""

    def __init__(self) -> None:
        self._spans: dict[str, _PendingSpan] = {}

    def start(self, name: str, started: SpanStarted) -> None:
        """Adds a span."""
        self._spans[name] = _PendingSpan(started)

    def add(self, name: str, item: RecordingPart | Failure) -> None:
        """Adds a part or a failure that its reading yielded."""
        span = self._spans[name]
        if isinstance(item, RecordingPart):
            span.parts.append(item)
        else:
            span.failures.append(item)

    def add_window(self, name: str) -> None:
        """Counts a window of the span that was read and is not finished."""
        self._spans[name].n_pending += 1

    def finish_window(
        self,
        name: str,
        transcript: WindowTranscript,
        failures: Iterable[Failure] = (),
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Adds the result of a window.

        Args:
            name: name of the reading.
            transcript: transcript of the window, also if no decoding succeeded.
            failures: failures of its decodings.
            counts: added to the counters of the run once the span is finished.
        """
        span = self._spans[name]
        span.n_pending -= 1
        span.windows.append(transcript)
        span.failures.extend(failures)
        for counter, n in (counts or {}).items():
            if n:
                span.counts[counter] += n

    def end(self, name: str, ended: SpanEnded) -> bool:
        """Records that the span was read to its end; returns whether it is worked on exclusively."""
        self._spans[name].ended = ended
        return self._spans[name].started.exclusive

    def pop_finished(self) -> list[SpanResult]:
        """Removes the spans that are read to their end and have no pending window; returns their results."""
        finished = [name for name, span in self._spans.items() if span.ended and not span.n_pending]
        return [self._spans.pop(name).result() for name in finished]

    def keys(self) -> list[str]:
        """Returns the keys of the spans, each once."""
        return sorted({span.started.key for span in self._spans.values()})
