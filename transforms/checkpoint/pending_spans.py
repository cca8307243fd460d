"""The spans that are worked on, and what came out of each so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from transforms.checkpoint.spans import Begun, Ended, SpanResult
from transforms.core.types import Failure, RecordingPart, WindowTranscript


@dataclass
class _OpenSpan:
    begun: Begun
    n_waiting: int = 0  # windows that were read, and of which not all was said
    ended: Ended | None = None
    windows: list[WindowTranscript] = field(default_factory=list)
    parts: list[RecordingPart] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def result(self) -> SpanResult:
        # Windows come as batches end: in another order in another run.
        windows = sorted(self.windows, key=lambda window: (window.audio_id, window.index))
        failures = sorted(self.failures, key=lambda failure: (failure.audio_id, failure.message))
        ended = self.ended or Ended()
        return SpanResult(
            self.begun.key,
            self.begun.place,
            ended.stop_s,
            ended.n_channels,
            tuple(windows),
            tuple(self.parts),
            tuple(failures),
            dict(sorted(self.counts.items())),
            self.begun.attempt,
        )


class OpenSpans:
    """Of one bundle; a span goes by the name of its reading, as a recording may be named twice."""

    def __init__(self) -> None:
        self._spans: dict[str, _OpenSpan] = {}

    def begin(self, name: str, begun: Begun) -> None:
        """Begins a span."""
        self._spans[name] = _OpenSpan(begun)

    def add(self, name: str, item: RecordingPart | Failure) -> None:
        """Adds what is known of a recording, or of what is wrong with it."""
        span = self._spans[name]
        if isinstance(item, RecordingPart):
            span.parts.append(item)
        else:
            span.failures.append(item)

    def wait(self, name: str) -> None:
        """One more window of it was read."""
        self._spans[name].n_waiting += 1

    def came(self, name: str, window: WindowTranscript | None) -> None:
        """All was said of a window, or nothing can be."""
        span = self._spans[name]
        span.n_waiting -= 1
        if window is not None:
            span.windows.append(window)

    def count(self, name: str, what: str, n: int = 1) -> None:
        """Adds to a counter of the run, once the span is done."""
        if n:
            self._spans[name].counts[what] += n

    def end(self, name: str, ended: Ended) -> bool:
        """No more is read of a span; gives whether it was to be worked on alone."""
        self._spans[name].ended = ended
        return self._spans[name].begun.alone

    def take_done(self) -> list[SpanResult]:
        """What came out of the spans that are done; they are forgotten."""
        done = [name for name, span in self._spans.items() if span.ended and not span.n_waiting]
        return [self._spans.pop(name).result() for name in done]

    def open_keys(self) -> list[str]:
        """The keys of the spans that are not done, each once."""
        return sorted({span.begun.key for span in self._spans.values()})
