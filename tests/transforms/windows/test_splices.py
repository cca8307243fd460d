from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.types import Intervals
from transforms.windows.splices import MAX_OVERHANG, behind, in_recording, in_window, joined, length

SECOND = 16_000
STRETCHES = ((5 * SECOND, 10 * SECOND), (100 * SECOND, 103 * SECOND), (110 * SECOND, 120 * SECOND))
FIRST, SECOND_SPLICE = 5 * SECOND, 8 * SECOND  # the splices, in samples of the window


@st.composite
def some_stretches(draw: st.DrawFn) -> Intervals:
    sizes = st.tuples(st.integers(1, 30_000), st.integers(1, 50_000))
    stretches, before = [], draw(st.integers(0, 1000))
    for gap, size in draw(st.lists(sizes, min_size=1, max_size=6)):
        stretches.append((before + gap, before + gap + size))
        before += gap + size
    return tuple(stretches)


def samples(stretches: Intervals) -> list[int]:
    return [sample for start, stop in stretches for sample in range(start, stop)]


def test_intervals_that_touch_or_overlap_are_joined() -> None:
    assert joined([(0, 3), (3, 5), (6, 9), (7, 8), (9, 12), (20, 21)]) == ((0, 5), (6, 12), (20, 21))
    assert joined([]) == ()


def test_stretches_are_concatenated_in_the_window() -> None:
    assert in_window(((5, 10), (100, 103), (103, 104))) == ((0, 5), (5, 8), (8, 9))


@settings(deadline=None)
@given(some_stretches(), st.integers(0, 60_000))
def test_behind_drops_the_first_samples(stretches: Intervals, offset: int) -> None:
    assert samples(behind(stretches, offset)) == samples(stretches)[offset:]


def test_window_of_one_stretch_is_shifted() -> None:
    assert in_recording(((400, 900),), 0, 500) == (400, 900)
    assert in_recording(((400, 900),), 30, 30) == (430, 430)


def test_interval_that_touches_a_splice_stays_on_its_side() -> None:
    assert in_recording(STRETCHES, 3 * SECOND, FIRST) == (8 * SECOND, 10 * SECOND)
    assert in_recording(STRETCHES, FIRST, SECOND_SPLICE) == STRETCHES[1]
    assert in_recording(STRETCHES, 0, length(STRETCHES)) == (5 * SECOND, 120 * SECOND)


def test_interval_across_a_splice_has_recording_times_at_both_ends() -> None:
    assert in_recording(STRETCHES, 4 * SECOND, 6 * SECOND) == (9 * SECOND, 101 * SECOND)
    assert in_recording(STRETCHES, 4 * SECOND, 9 * SECOND) == (9 * SECOND, 111 * SECOND)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (MAX_OVERHANG, 2 * SECOND, (100 * SECOND, 102 * SECOND)),
        (MAX_OVERHANG + 1, 2 * SECOND, (10 * SECOND - MAX_OVERHANG - 1, 102 * SECOND)),
        (SECOND, MAX_OVERHANG, (9 * SECOND, 10 * SECOND)),
        (SECOND, MAX_OVERHANG + 1, (9 * SECOND, 100 * SECOND + MAX_OVERHANG + 1)),
        (100, 90, (10 * SECOND - 100, 10 * SECOND)),
        (90, 100, (100 * SECOND, 100 * SECOND + 100)),
    ],
)
def test_small_overhang_is_cut_off_at_the_splice(before: int, after: int, expected: tuple[int, int]) -> None:
    assert in_recording(STRETCHES, FIRST - before, FIRST + after) == expected


def test_empty_interval_stays_empty() -> None:
    assert in_recording(STRETCHES, FIRST, FIRST) == (10 * SECOND, 10 * SECOND)


@settings(deadline=None)
@given(some_stretches(), st.lists(st.integers(0, 10**6), min_size=2, max_size=12))
def test_times_lie_in_the_stretches_and_stay_in_order(stretches: Intervals, times: list[int]) -> None:
    total = length(stretches)
    times = sorted(time % (total + 1) for time in times)
    found = [in_recording(stretches, start, stop) for start, stop in pairwise(times)]
    for start, stop in found:
        assert start <= stop
        assert all(any(first <= time <= last for first, last in stretches) for time in (start, stop))
    assert all(stop <= start for (_, stop), (start, _) in pairwise(found))


@settings(deadline=None)
@given(some_stretches(), st.data())
def test_interval_within_a_stretch_maps_back_to_it(stretches: Intervals, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(stretches) - 1))
    (first, last), (position, _) = stretches[number], in_window(stretches)[number]
    start = data.draw(st.integers(first, last - 1))
    stop = data.draw(st.integers(start + 1, last))
    assert in_recording(stretches, start - first + position, stop - first + position) == (start, stop)
