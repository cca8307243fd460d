from __future__ import annotations

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, SPEECH_DELAY
from transforms.core.clips import Clips
from transforms.core.sections import Sections
from transforms.core.window_index import WindowId
from transforms.windows.cutters import (
    WHOLE,
    FixedStrideCutter,
    Place,
    PlannedWindow,
    SpeechCutter,
    StreamState,
    WindowCutter,
    fixed_stride,
    split_at_section,
)
from transforms.windows.packing import Packing
from transforms.windows.speech_intervals import SpeechPart, whole_intervals

WINDOW, HOP = 3_000, 2_000


def strides(clips: Clips = WHOLE, first: int = 0) -> FixedStrideCutter:
    return FixedStrideCutter(fixed_stride(clips, WINDOW, HOP, first), clips)


def packed(wanted: frozenset[int] | None, first: int = 0) -> SpeechCutter:
    return SpeechCutter(lambda: Packing(WINDOW, HOP), Sections(120), first, WINDOW - HOP, wanted)


def section_of(window: PlannedWindow) -> int:
    return WindowId.from_index(window.index).section


def found(cutter: WindowCutter, n_samples: int, ended: bool = True) -> list[PlannedWindow]:
    return list(cutter.windows(StreamState(n_samples, [], n_samples, ended)))


@pytest.mark.parametrize(
    ("n_samples", "starts"),
    [(1, [0]), (3_000, [0]), (3_001, [0, 2_000]), (5_000, [0, 2_000]), (5_001, [0, 2_000, 4_000])],
)
def test_last_window_at_fixed_stride_is_first_that_reaches_the_end(n_samples: int, starts: list[int]) -> None:
    windows = found(strides(), n_samples)
    assert [window.stretches[0][0] for window in windows] == starts
    assert windows[-1].stretches[0][1] == n_samples
    assert [window.n_unshared for window in windows[:-1]] == [HOP] * (len(starts) - 1)
    assert windows[-1].n_unshared == n_samples - starts[-1]


def test_empty_recording_has_no_windows() -> None:
    assert found(strides(), 0) == []


def test_fixed_stride_window_is_complete_once_vad_saw_its_last_chunk() -> None:
    cutter = strides()
    decided = WINDOW + SPEECH_CHUNK + SPEECH_DELAY
    assert found(cutter, decided - 1, ended=False) == []
    assert (cutter.needed, cutter.speech_needed_from) == (((0, decided - 1),), 0)
    assert found(cutter, decided, ended=False)[0] == PlannedWindow(0, 0, ((0, WINDOW),), HOP)
    assert not cutter.done
    assert found(cutter, decided)
    assert cutter.done


def test_windows_off_the_stride_have_no_unshared_samples_and_need_none_before_them() -> None:
    places = [Place(2_500, -1, 5_500), Place(4_000, 2, 7_000, WINDOW - HOP, HOP), Place(9_000, -5, 12_000)]
    cutter = FixedStrideCutter(places)
    assert found(cutter, 1_000, ended=False) == []
    assert cutter.needed == ((1_000, 1_000),)
    assert found(cutter, 8_000) == [
        PlannedWindow(-1, 2_500, ((2_500, 5_500),), 0),
        PlannedWindow(2, 4_000, ((4_000, 7_000),), HOP),
    ]


def talk() -> list[SpeechPart]:
    return [
        SpeechPart(1_000, 3_000, 1_100),
        SpeechPart(5_000, 7_000, 2_100),
        SpeechPart(9_000, 10_000, 2_100),
    ]


def test_packed_windows_are_numbered_and_list_their_speech() -> None:
    cutter = packed(None)
    windows = list(cutter.windows(StreamState(11_000, talk(), 11_000, ended=True)))
    assert windows == [
        PlannedWindow(0, 1_000, ((1_000, 3_000),), 2_000, ((1_000, 3_000),)),
        PlannedWindow(1, 5_000, ((5_000, 7_000), (9_000, 10_000)), 3_000, ((5_000, 7_000), (9_000, 10_000))),
    ]
    assert not cutter.done  # more speech may follow


def test_needed_is_the_waiting_speech_and_all_that_is_not_settled() -> None:
    cutter = packed(None)
    (window,) = cutter.windows(StreamState(12_000, talk(), 11_500, ended=False))
    assert window.index == 0
    assert cutter.needed == ((5_000, 7_000), (9_000, 10_000), (11_500, 12_000))
    assert cutter.speech_needed_from == 12_000


def test_wanted_windows_have_the_indices_of_the_full_plan() -> None:
    cutter = packed(frozenset({0}))
    assert not cutter.done
    assert [window.index for window in cutter.windows(StreamState(12_000, talk(), 11_500, ended=False))] == [
        0
    ]
    assert cutter.done
    second = packed(frozenset({1}))
    (window,) = second.windows(StreamState(11_000, talk(), 11_000, ended=True))
    assert (window.index, window.stretches[0]) == (1, (5_000, 7_000))
    assert packed(frozenset()).done


BOUND = 120 * SAMPLE_RATE
SECOND = SAMPLE_RATE


def parts_of(*intervals: tuple[float, float]) -> list[SpeechPart]:
    """Intervals in seconds, in parts of a second as `SpeechTracker` returns them, with the pauses between."""
    parts, last_s = [], -10.0
    for start_s, stop_s in intervals:
        for at_s in np.arange(start_s, stop_s, 1.0):
            start, stop = round(at_s * SECOND), round(min(at_s + 1, stop_s) * SECOND)
            pause = round((start_s - last_s) * SECOND) if at_s == start_s else 0
            parts.append(SpeechPart(start, stop, pause))
        last_s = stop_s
    return parts


def split_at(*intervals: tuple[float, float]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    before, after = split_at_section(parts_of(*intervals), BOUND, 5 * SECOND)
    return tuple(  # type: ignore[return-value]
        [(one.start / SECOND, one.stop / SECOND) for one in whole_intervals(side)] for side in (before, after)
    )


@pytest.mark.parametrize(
    ("intervals", "before", "after"),
    [
        ([(70, 80), (125, 130)], [(70, 80)], [(125, 130)]),  # at the bound, which is in silence
        ([(70, 100), (101.5, 119), (119.5, 130)], [(70, 100)], [(101.5, 119), (119.5, 130)]),
        ([(70, 95), (97, 105), (109, 130)], [(70, 95), (97, 105)], [(109, 130)]),  # the last long one
        ([(70, 80), (89, 130)], [(70, 80), (89, 120)], [(115, 130)]),  # too long before the bound
        ([(60, 130)], [(60, 120)], [(115, 130)]),
        ([(60, 118), (118.4, 120)], [(60, 118), (118.4, 120)], []),
        ([(60, 110), (110.7, 120.5)], [(60, 110)], [(110.7, 120.5)]),
        ([], [], []),
        ([(121, 125)], [], [(121, 125)]),
    ],
)
def test_section_ends_in_a_pause_if_possible(
    intervals: list[tuple[float, float]],
    before: list[tuple[float, float]],
    after: list[tuple[float, float]],
) -> None:
    assert split_at(*intervals) == (before, after)


def test_section_without_a_pause_at_its_end_shares_seconds_with_the_next() -> None:
    first, second = packed(None), packed(None, first=1)
    speech = parts_of((60, 121))
    state = StreamState(130 * SECOND, speech, 130 * SECOND, ended=False)
    windows, later = list(first.windows(state)), list(second.windows(state))
    ends = [window for window in windows if section_of(window) == 0]
    assert ends[-1].stretches[-1][1] == BOUND
    assert [section_of(window) for window in windows[len(ends) :]] == [1] * len(later)
    assert windows[len(ends) :] == later != []
    assert later[0].stretches[0][0] == BOUND - (WINDOW - HOP)
    assert later[0].position == BOUND


def test_section_does_not_end_before_speech_around_its_end_is_settled() -> None:
    cutter = packed(None)
    assert list(cutter.windows(StreamState(BOUND + 1, parts_of((115, 116)), BOUND - 1, ended=False))) == []
    assert cutter.needed[0] == (115 * SECOND, 116 * SECOND)
    assert cutter.position == 115 * SECOND
    assert list(cutter.windows(StreamState(BOUND + 2, [], BOUND, ended=False))) == []
    assert list(cutter.windows(StreamState(BOUND + 2, [], BOUND + 1, ended=False)))
    assert cutter.position == BOUND + 1
    assert not cutter.done


def test_recording_that_ends_at_a_section_bound_has_no_further_section() -> None:
    cutter = packed(None)
    windows = list(cutter.windows(StreamState(BOUND, parts_of((60, 120)), BOUND, ended=True)))
    assert {section_of(window) for window in windows} == {0}


def test_no_window_follows_one_that_reaches_the_end_wherever_reading_starts() -> None:
    n_samples = 5 * HOP + 900  # the window before reaches the end
    for first in (0, 5, 6):
        cutter = strides(first=first * HOP)
        indices = [window.index for window in found(cutter, n_samples)]
        assert indices == list(range(first, 5))


def test_fixed_stride_window_waits_until_speech_before_it_is_settled() -> None:
    cutter = strides()
    state = StreamState(10 * WINDOW + SPEECH_DELAY, [], HOP, ended=False)
    assert [window.index for window in cutter.windows(state)] == [0, 1]
    assert cutter.position == 2 * HOP
