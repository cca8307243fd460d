"""Recordings of noise and silence, and the windows that are cut out of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile as sf
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import LoudnessDetector
from transforms.checkpoint.spans import WorkUnit
from transforms.core.clips import Clips
from transforms.core.recording_parts import join_parts
from transforms.core.run_context import RunContext
from transforms.core.types import AudioSpan, Intervals, Recording, RecordingPart, Window
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY
from transforms.reading.span_reader import SpanReader
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import WindowPlan
from transforms.windows.speech_tracker import SpeechTracker
from transforms.windows.window_stream import cut_windows

PLAN = WindowPlan(3, 1)
SPEECH_PLAN = WindowPlan(3, 1, LoudnessDetector)
VAD_STRIDE_PLAN = WindowPlan(3, 1, LoudnessDetector, over_speech=False)
SOURCE = audio_source("x")

Cut = tuple[PlannedWindow, Samples, Intervals | None]


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise of (seconds, amplitude) stretches; above 0.1 it counts as speech."""
    random = np.random.default_rng(0)
    stretches = [random.uniform(0.8, 1, round(seconds * SAMPLE_RATE)) * level for seconds, level in stretches]
    return np.concatenate([np.empty(0), *stretches]).astype(np.float32)


def cut(plan: WindowPlan, blocks: Iterable[Samples], span: AudioSpan | None = None) -> list[Cut]:
    span = span or AudioSpan(SOURCE)
    tracker = SpeechTracker(plan.detector, clips=Clips.of(span.source.clip_timestamps))
    return list(cut_windows(blocks, tracker, plan.cutters(span)))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Samples, list[Samples]]:
    """A recording of up to a quarter of a minute, and the same in blocks of any sizes."""
    stretches = st.tuples(st.floats(0.01, 5), st.sampled_from([0.0, 0.05, 0.3]))
    recording = sound(*draw(st.lists(stretches, max_size=8)))[: 15 * SAMPLE_RATE]
    bounds = sorted(draw(st.lists(st.integers(0, len(recording)), max_size=10)))
    return recording, np.split(recording, bounds)


def read(span: AudioSpan, plan: WindowPlan) -> Iterator[Window | Recording]:
    """Yields all windows with speech, and the recording."""
    reader = SpanReader(WorkUnit("key", span), plan, DEFAULT_POLICY, 1800, RunContext())
    parts = []
    for _, event in reader.events():
        if isinstance(event, RecordingPart):
            parts.append(event)
        elif isinstance(event, tuple):
            yield event[1]
    yield join_parts(parts)


def wav(seconds: float, value: float = 0.25) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(round(seconds * SAMPLE_RATE), value, np.float32), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def talk(*stretches: tuple[float, float]) -> bytes:
    file = io.BytesIO()
    sf.write(file, sound(*stretches), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()
