"""Tests which windows a plan asks for; those of what it cuts are in `test_window_stream.py`."""

from __future__ import annotations

import numpy as np
import pytest

from model.interface import SAMPLE_RATE
from tests.support.detectors import LoudnessDetector
from transforms.core.sections import Sections
from transforms.core.types import AudioSpan
from transforms.core.uris import audio_source
from transforms.core.window_index import WindowId
from transforms.windows.cutters import FixedStrideCutter, SpeechCutter
from transforms.windows.plan import WindowPlan
from transforms.windows.speech_tracker import SpeechTracker
from transforms.windows.window_stream import cut_windows

SOURCE = audio_source("x")


@pytest.mark.parametrize(
    ("seconds", "extra", "starts"),
    [
        (0, 1, [0]), (30, 0, [0]), (30, 1, [0, 25]), (55, 0, [0, 25]), (55, 1, [0, 25, 50]),
        (80, 0, [0, 25, 50]),
    ],
)  # fmt: skip
def test_windows_of_thirty_seconds_share_five(seconds: int, extra: int, starts: list[int]) -> None:
    blocks = [np.zeros(seconds * SAMPLE_RATE, np.float32), np.zeros(extra, np.float32)]
    plan = WindowPlan(30, 5)
    windows = cut_windows(blocks, SpeechTracker(None), plan.cutters(AudioSpan(SOURCE)))
    assert [planned.stretches[0][0] / SAMPLE_RATE for planned, _, _ in windows] == starts


@pytest.mark.parametrize(("chunk_s", "stride_s"), [(30, 30), (30, 35), (30, -1), (0, 0)])
def test_invalid_hop_is_an_error(chunk_s: float, stride_s: float) -> None:
    with pytest.raises(ValueError, match=f"windows of {chunk_s * SAMPLE_RATE} samples every"):
        WindowPlan(chunk_s, stride_s)


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        (WindowPlan(30, 5, LoudnessDetector), [SpeechCutter, FixedStrideCutter]),
        (WindowPlan(30, 5, LoudnessDetector, over_speech=False), [FixedStrideCutter]),
        (WindowPlan(30, 5), [FixedStrideCutter]),
    ],
)
def test_windows_are_packed_only_with_a_detector(plan: WindowPlan, kinds: list[type]) -> None:
    assert [type(cutter) for cutter in plan.cutters(AudioSpan(SOURCE))] == kinds


@pytest.mark.parametrize(
    ("over_speech", "windows", "extra", "expected"),
    [
        (True, {WindowId(1, 3).to_index(), WindowId(2, 0).to_index()}, (), 1),
        (True, {WindowId(2, 0).to_index()}, ((-1, 130 * SAMPLE_RATE),), 1),
        (True, set(), (), 0),
        (False, {10, 11}, (), 2),  # at 250 s and 275 s
        (False, {10}, ((-5, 100 * SAMPLE_RATE),), 0),
    ],
)
def test_second_pass_starts_with_the_section_of_its_first_window(
    over_speech: bool, windows: set[int], extra: tuple[tuple[int, int], ...], expected: int
) -> None:
    plan = WindowPlan(30, 5, LoudnessDetector, over_speech=over_speech, sections=Sections(120))
    assert plan.first_section(AudioSpan(SOURCE, windows=frozenset(windows), extra=extra)) == expected
