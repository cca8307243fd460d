"""Tests the windows that `cut_windows` makes of blocks of samples; see `test_window_stream.py` for files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.cut_recordings import (
    PLAN,
    SOURCE,
    SPEECH_PLAN,
    VAD_STRIDE_PLAN,
    cut,
    recordings,
    sound,
)
from tests.support.detectors import LoudnessDetector
from transforms.core.types import AudioSpan, Intervals
from transforms.windows.plan import WindowPlan
from transforms.windows.sample_buffer import SampleBuffer
from transforms.windows.speech_intervals import PADDING_SAMPLES, speech_intervals
from transforms.windows.speech_tracker import MAX_WORD_CLIP_SAMPLES, SpeechTracker
from transforms.windows.splices import in_recording, joined
from transforms.windows.window_stream import cut_windows

PLANS = st.sampled_from(
    [PLAN, VAD_STRIDE_PLAN, SPEECH_PLAN, WindowPlan(2, 0, LoudnessDetector), WindowPlan(3, 2.9)]
)
SPANS = st.sampled_from(
    [AudioSpan(SOURCE), AudioSpan(SOURCE, windows=frozenset({0, 2}), extra=((-1, 20_000), (-3, 70_000)))]
)


@settings(deadline=None, max_examples=60)
@given(recordings(), PLANS, SPANS)
def test_windows_do_not_depend_on_the_blocks(
    case: tuple[Samples, list[Samples]], plan: WindowPlan, span: AudioSpan
) -> None:
    recording, blocks = case
    expected, actual = (cut(plan, cuts, span) for cuts in ([recording], blocks))
    assert {planned: speech for planned, _, speech in actual} == {
        planned: speech for planned, _, speech in expected
    }
    assert len(actual) == len(expected)
    for planned, samples, _ in actual:
        assert samples.tolist() == np.concatenate([recording[a:b] for a, b in planned.stretches]).tolist()
        assert 0 < samples.size <= plan.window_samples
        assert samples.dtype == np.float32
        assert samples.base is None


@settings(deadline=None, max_examples=40)
@given(recordings(), PLANS)
def test_second_pass_reads_the_same_windows(case: tuple[Samples, list[Samples]], plan: WindowPlan) -> None:
    first = cut(plan, case[1])
    wanted = frozenset(planned.index for planned, _, _ in first[1::2])
    again = cut(plan, case[1], AudioSpan(SOURCE, windows=wanted))
    assert [planned for planned, _, _ in again] == [planned for planned, _, _ in first[1::2]]


def speech_of(recording: Samples) -> Intervals:
    """The intervals of speech; in a short recording without any, all of its loud chunks are a word."""
    detector = LoudnessDetector()
    probabilities = np.concatenate([detector(recording), detector.finish()])
    intervals, n_samples = speech_intervals(probabilities, len(recording)), len(recording)
    chunks = np.flatnonzero(probabilities).tolist()
    if intervals or not chunks or n_samples > MAX_WORD_CLIP_SAMPLES:
        return intervals
    start, stop = chunks[0] * SPEECH_CHUNK, (chunks[-1] + 1) * SPEECH_CHUNK
    return ((max(start - PADDING_SAMPLES, 0), min(stop + PADDING_SAMPLES, n_samples)),)


@settings(deadline=None, max_examples=40)
@given(recordings())
@example((sound((0.1, 0.3)), [sound((0.1, 0.3))]))
@example((sound((2, 0), (0.1, 0.3), (2, 0)), np.split(sound((2, 0), (0.1, 0.3), (2, 0)), [33_000])))
def test_packed_windows_contain_the_speech_and_list_its_intervals(
    case: tuple[Samples, list[Samples]],
) -> None:
    recording, blocks = case
    found = cut(SPEECH_PLAN, blocks)
    stretches = sorted(stretch for planned, _, _ in found for stretch in planned.stretches)
    assert joined(stretches) == joined(speech_of(recording))
    for planned, samples, speech in found:
        assert speech is not None
        assert joined(speech) == ((0, samples.size),)
        assert in_recording(planned.stretches, *speech[0])[0] == planned.stretches[0][0]


@settings(deadline=None, max_examples=40)
@given(recordings())
def test_fixed_stride_covers_every_sample(case: tuple[Samples, list[Samples]]) -> None:
    recording, blocks = case
    found = cut(PLAN, blocks)
    assert [planned.stretches[0][0] for planned, _, _ in found] == list(
        range(0, max(len(recording) - 16_000, min(len(recording), 1)), 32_000)
    )
    assert joined(planned.stretches[0] for planned, _, _ in found) == (
        ((0, len(recording)),) if len(recording) else ()
    )


class Measured(SampleBuffer):
    """Measures the maximum number of samples buffered between two blocks."""

    maximum = 0

    def keep(self, wanted: Intervals) -> None:
        super().keep(wanted)
        Measured.maximum = max(Measured.maximum, sum(len(samples) for _, samples in self._blocks))


@pytest.mark.parametrize("plan", [PLAN, VAD_STRIDE_PLAN, SPEECH_PLAN])
@pytest.mark.parametrize(
    "minute", [[(60, 0.3)], [(60, 0.0)], [(0.5, 0.3), (59.5, 0.0)], [(1.6, 0.3), (0.9, 0.0)] * 24]
)
def test_buffered_samples_do_not_grow_with_the_recording(
    monkeypatch: pytest.MonkeyPatch, plan: WindowPlan, minute: list[tuple[float, float]]
) -> None:
    monkeypatch.setattr("transforms.windows.window_stream.SampleBuffer", Measured)
    Measured.maximum = 0
    samples = sound(*minute)
    blocks = np.split(samples, len(samples) // SAMPLE_RATE)
    tracker = SpeechTracker(plan.detector)
    for _ in cut_windows(
        (block for _ in range(4) for block in blocks), tracker, plan.cutters(AudioSpan(SOURCE))
    ):
        pass
    assert 0 < Measured.maximum <= 2 * plan.window_samples + 4 * SAMPLE_RATE
    assert tracker._probabilities.nbytes < 2000
