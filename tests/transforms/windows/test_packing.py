"""Packs speech into windows of 100 samples, with a stride of 80 where there is no pause."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.types import Intervals
from transforms.windows import packing
from transforms.windows.packing import MIN_FILL, PackedWindow, Packing
from transforms.windows.speech_intervals import SpeechPart
from transforms.windows.splices import length

WINDOW, HOP = 100, 80


def pack(parts: list[SpeechPart], min_fill: float = MIN_FILL) -> list[PackedWindow]:
    packed = Packing(WINDOW, HOP, min_fill)
    return [*packed.add(parts), *packed.finish()]


def speech(*intervals: tuple[int, int], padding: int = 2) -> list[SpeechPart]:
    """Makes intervals of (pause, samples) pairs; padding shortens the pause."""
    parts, before = [], 0
    for pause, n_samples in intervals:
        start = before + max(pause - 2 * padding, 0)
        parts.append(SpeechPart(start, start + n_samples, pause))
        before = start + n_samples
    return parts


def lengths(windows: list[PackedWindow]) -> list[list[int]]:
    return [[stop - start for start, stop in window.intervals] for window in windows]


@st.composite
def talks(draw: st.DrawFn) -> list[SpeechPart]:
    pauses, sizes = st.integers(1, 60), st.integers(1, 40) | st.integers(1, 350)
    return speech(*draw(st.lists(st.tuples(pauses, sizes), max_size=30)))


def samples(intervals: Intervals) -> list[int]:
    return [sample for start, stop in intervals for sample in range(start, stop)]


@settings(deadline=None)
@given(talks(), st.floats(0, 1))
def test_windows_contain_all_speech_in_order_and_nothing_else(
    talk: list[SpeechPart], min_fill: float
) -> None:
    windows = pack(talk, min_fill)
    unshared = [sample for window in windows for sample in samples(window.intervals)[: window.n_unshared]]
    assert unshared == samples(tuple((part.start, part.stop) for part in talk))
    for window in windows:
        assert 0 < length(window.intervals) <= WINDOW
        assert (
            samples(window.stretches) == samples(window.intervals) == sorted(set(samples(window.intervals)))
        )
        assert all(stop < start for (_, stop), (start, _) in pairwise(window.stretches))


@settings(deadline=None)
@given(talks(), st.floats(0, 1))
def test_windows_share_samples_only_within_speech_longer_than_a_window(
    talk: list[SpeechPart], min_fill: float
) -> None:
    for left, right in pairwise(pack(talk, min_fill)):
        before, after = samples(left.intervals), samples(right.intervals)
        shared = before[left.n_unshared :]
        assert sorted(set(before) & set(after)) == shared
        if shared:
            assert shared == after[: WINDOW - HOP] == list(range(shared[0], shared[0] + WINDOW - HOP))
            (long,) = [part for part in talk if part.start <= shared[0] < part.stop]
            assert long.n_samples > WINDOW
        else:
            assert left.intervals[-1][1] in {part.stop for part in talk}


@settings(deadline=None)
@given(talks(), st.data())
def test_windows_do_not_depend_on_the_parts_of_speech(talk: list[SpeechPart], data: st.DataObject) -> None:
    cut = []
    for part in talk:
        bounds = data.draw(st.sets(st.integers(part.start + 1, part.stop), max_size=5)) - {part.stop}
        for start, stop in pairwise([part.start, *sorted(bounds), part.stop]):
            cut.append(SpeechPart(start, stop, part.pause if start == part.start else 0))
    packed = Packing(WINDOW, HOP)
    one_by_one = chain.from_iterable(packed.add([part]) for part in cut)
    assert [*one_by_one, *packed.finish()] == pack(talk)


@settings(deadline=None)
@given(talks(), st.integers(1, 20))
def test_at_most_two_windows_of_speech_wait(talk: list[SpeechPart], step: int) -> None:
    packed = Packing(WINDOW, HOP)
    for part in talk:
        for start in range(part.start, part.stop, step):
            added = SpeechPart(start, min(start + step, part.stop), part.pause if start == part.start else 0)
            list(packed.add([added]))
            assert length(packed.waiting) <= 2 * WINDOW
            assert packed.waiting[-1][1] == added.stop


def test_intervals_that_fit_make_one_window_and_silence_none() -> None:
    assert pack([]) == []
    (window,) = pack(speech((9, 40), (30, 30), (3, 30)))
    assert window == PackedWindow(((5, 45), (71, 101), (101, 131)), n_unshared=100)
    assert window.stretches == ((5, 45), (71, 131))


def test_speech_from_the_first_sample_on_is_an_interval() -> None:
    assert lengths(pack([SpeechPart(0, 30, 0), SpeechPart(30, 40, 0), SpeechPart(40, 60, 5)])) == [[40, 20]]


def test_interval_that_does_not_fit_starts_the_next_window() -> None:
    assert lengths(pack(speech((9, 60), (9, 30), (9, 20), (9, 100), (9, 1)))) == [[60, 30], [20], [100], [1]]


@pytest.mark.parametrize(
    ("pauses", "min_fill", "expected"),
    [
        ((9, 9, 9), 0.6, [[60, 10, 25], [30]]),  # of equal pauses the last
        ((20, 9, 9), 0.6, [[60], [10, 25, 30]]),  # the longest
        ((9, 20, 9), 0.6, [[60, 10], [25, 30]]),
        ((20, 9, 9), 0.7, [[60, 10, 25], [30]]),  # not if it leaves the window too empty
        ((20, 9, 9), 1.0, [[60, 10, 25], [30]]),
    ],
)
def test_window_ends_in_the_longest_pause_that_leaves_it_full_enough(
    pauses: tuple[int, int, int], min_fill: float, expected: list[list[int]]
) -> None:
    talk = speech((9, 60), *zip(pauses, (10, 25, 30), strict=True))
    assert lengths(pack(talk, min_fill)) == expected


def test_all_long_pauses_are_equally_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LONG_PAUSE", 15)
    assert lengths(pack(speech((9, 60), (50, 35), (20, 30)), 0.6)) == [[60, 35], [30]]


def test_window_does_not_end_in_a_pause_that_costs_another_window() -> None:
    assert lengths(pack(speech((9, 60), (50, 35), (9, 70)), 0.6)) == [[60, 35], [70]]


def test_windows_without_pauses_have_a_fixed_stride_and_the_last_is_filled_up() -> None:
    windows = pack(speech((0, 270), (9, 20), (9, 40)))
    assert [window.intervals for window in windows] == [
        ((0, 100),), ((80, 180),), ((160, 260),), ((240, 270), (275, 295), (300, 340)),
    ]  # fmt: skip
    assert [window.n_unshared for window in windows] == [80, 80, 80, 90]


def test_long_interval_fills_up_a_window_that_is_far_from_full() -> None:
    short = pack(speech((9, 40), (9, 150)))
    assert [(window.intervals, window.n_unshared) for window in short] == [
        (((5, 45), (50, 110)), 80), (((90, 190),), 80), (((170, 200),), 30),
    ]  # fmt: skip
    full = pack(speech((9, 60), (9, 150)))
    assert lengths(full) == [[60], [100], [70]]


def test_windows_without_overlap_cut_speech_apart() -> None:
    packed = Packing(WINDOW, WINDOW)
    windows = [*packed.add([SpeechPart(0, 250, 0)]), *packed.finish()]
    assert [window.intervals for window in windows] == [((0, 100),), ((100, 200),), ((200, 250),)]
