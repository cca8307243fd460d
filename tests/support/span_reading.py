"""Reading of spans, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from model.interface import SAMPLE_RATE
from transforms.checkpoint.spans import ReadEvent, SpanEnded, SpanStarted, WorkUnit
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import Progress, Tally
from transforms.core.run_context import RunContext
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, Window
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY
from transforms.reading.span_reader import SpanReader
from transforms.windows.plan import WindowPlan

PLAN = WindowPlan(30, 5)
SOURCE = audio_source("x")
KNOWN = WorkUnit("key", AudioSpan(SOURCE))


def wav(path: Path, seconds: float) -> Path:
    soundfile.write(path, np.full(int(seconds * SAMPLE_RATE), 0.1, np.float32), SAMPLE_RATE)
    return path


@dataclass
class Reading:
    """The events of reading a unit by their kinds, and what it added to progress and counters."""

    windows: list[tuple[AudioSource, Window]] = field(default_factory=list)
    parts: list[RecordingPart] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    started: list[SpanStarted] = field(default_factory=list)
    ended: list[SpanEnded] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    metrics: CountingMetrics = field(default_factory=CountingMetrics)

    def add(self, event: ReadEvent) -> None:
        match event:
            case RecordingPart():
                self.parts.append(event)
            case Failure():
                self.failures.append(event)
            case SpanStarted():
                self.started.append(event)
            case SpanEnded():
                self.ended.append(event)
            case source, window:
                self.windows.append((source, window))


def check_spans(events: list[tuple[str, ReadEvent]]) -> None:
    """Each span of a reading has a name of its own, a first event and a last one."""
    names = list(dict.fromkeys(name for name, _ in events))
    for name in names:
        first, *between, last = (event for of, event in events if of == name)
        assert isinstance(first, SpanStarted)
        assert isinstance(last, SpanEnded)
        assert not any(isinstance(event, SpanStarted | SpanEnded) for event in between)
    assert [name for name, _ in events] == sorted((name for name, _ in events), key=names.index)


def read(
    span: AudioSpan, plan: WindowPlan = PLAN, span_s: int = 1800, known: WorkUnit | None = None
) -> Reading:
    """Reads a span; `known` has what was committed of it before."""
    unit = WorkUnit("key", span) if known is None else replace(known, span=span)
    metrics, progress = CountingMetrics(), Progress()
    reader = SpanReader(unit, plan, DEFAULT_POLICY, span_s, RunContext(metrics, progress))
    events = list(reader.events())
    check_spans(events)
    reading = Reading(tally=progress.tally(), metrics=metrics)
    for _, event in events:
        reading.add(event)
    return reading
