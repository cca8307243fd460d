from __future__ import annotations

import itertools

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, SPEECH_CHUNK
from transforms.core.sections import WINDOWS, Chapters
from transforms.windows.cutters import Cutter, FixedWindows, Heard, PlannedWindow, SpeechWindows, divided
from transforms.windows.packing import Packing
from transforms.windows.speech_intervals import SpeechPart, whole_intervals

WINDOW, HOP = 3_000, 2_000


def grid() -> FixedWindows:
    return FixedWindows(((index * HOP, index) for index in itertools.count()), WINDOW, HOP)


def packed(wanted: frozenset[int] | None, first: int = 0) -> SpeechWindows:
    return SpeechWindows(lambda: Packing(WINDOW, HOP), Chapters(120), first, WINDOW - HOP, wanted)


def found(cutter: Cutter, n_samples: int, ended: bool = True) -> list[PlannedWindow]:
    return list(cutter.windows(Heard(n_samples, [], n_samples, ended)))


@pytest.mark.parametrize(
    ("n_samples", "starts"),
    [(1, [0]), (3_000, [0]), (3_001, [0, 2_000]), (5_000, [0, 2_000]), (5_001, [0, 2_000, 4_000])],
)
def test_the_last_window_of_the_grid_is_the_first_that_reaches_the_end(
    n_samples: int, starts: list[int]
) -> None:
    windows = found(grid(), n_samples)
    assert [window.pieces[0][0] for window in windows] == starts
    assert windows[-1].pieces[0][1] == n_samples
    assert [window.n_own for window in windows[:-1]] == [HOP] * (len(starts) - 1)
    assert windows[-1].n_own == n_samples - starts[-1]


def test_nothing_read_has_no_windows() -> None:
    assert found(grid(), 0) == []


def test_a_window_of_the_grid_comes_when_it_is_not_the_last_and_its_last_chunk_was_heard() -> None:
    cutter = grid()
    assert found(cutter, WINDOW + SPEECH_CHUNK - 1, ended=False) == []
    assert (cutter.needed, cutter.listens_from) == (((0, WINDOW + SPEECH_CHUNK - 1),), 0)
    assert found(cutter, WINDOW + SPEECH_CHUNK, ended=False) == [PlannedWindow(0, 0, ((0, WINDOW),), HOP)]
    assert (cutter.needed, cutter.listens_from) == (((HOP, WINDOW + SPEECH_CHUNK),), HOP)
    assert not cutter.done
    assert len(found(cutter, WINDOW + SPEECH_CHUNK)) == 1
    assert cutter.done


def test_windows_off_the_grid_own_nothing_and_nothing_is_needed_before_them() -> None:
    cutter = FixedWindows([(2_500, -1), (4_000, 2), (9_000, -5)], WINDOW, HOP)
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


def test_windows_over_speech_are_numbered_and_know_what_they_are_made_of() -> None:
    cutter = packed(None)
    windows = list(cutter.windows(Heard(11_000, talk(), 11_000, ended=True)))
    assert windows == [
        PlannedWindow(0, 1_000, ((1_000, 3_000),), 2_000, ((1_000, 3_000),)),
        PlannedWindow(1, 5_000, ((5_000, 7_000), (9_000, 10_000)), 3_000, ((5_000, 7_000), (9_000, 10_000))),
    ]
    assert not cutter.done  # it cannot know


def test_needed_is_the_speech_that_waits_and_what_may_still_become_speech() -> None:
    cutter = packed(None)
    (window,) = cutter.windows(Heard(12_000, talk(), 11_500, ended=False))
    assert window.index == 0
    assert cutter.needed == ((5_000, 7_000), (9_000, 10_000), (11_500, 12_000))
    assert cutter.listens_from == 12_000


def test_windows_wanted_alone_have_the_same_numbers() -> None:
    cutter = packed(frozenset({0}))
    assert not cutter.done
    assert [window.index for window in cutter.windows(Heard(12_000, talk(), 11_500, ended=False))] == [0]
    assert cutter.done
    second = packed(frozenset({1}))
    (window,) = second.windows(Heard(11_000, talk(), 11_000, ended=True))
    assert (window.index, window.pieces[0]) == (1, (5_000, 7_000))
    assert packed(frozenset()).done


BOUND = 120 * SAMPLE_RATE
SECOND = SAMPLE_RATE


def parts_of(*intervals: tuple[float, float]) -> list[SpeechPart]:
    """Intervals in seconds, in parts of a second, as the listener gives them; the pauses are between them."""
    parts, last_s = [], -10.0
    for start_s, stop_s in intervals:
        for at_s in np.arange(start_s, stop_s, 1.0):
            start, stop = round(at_s * SECOND), round(min(at_s + 1, stop_s) * SECOND)
            pause = round((start_s - last_s) * SECOND) if at_s == start_s else 0
            parts.append(SpeechPart(start, stop, pause))
        last_s = stop_s
    return parts


def split_at(*intervals: tuple[float, float]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    before, after = divided(parts_of(*intervals), BOUND, 5 * SECOND)
    return tuple(  # type: ignore[return-value]
        [(one.start / SECOND, one.stop / SECOND) for one in whole_intervals(side)] for side in (before, after)
    )


@pytest.mark.parametrize(
    ("intervals", "before", "after"),
    [
        ([(70, 80), (125, 130)], [(70, 80)], [(125, 130)]),  # at the bound, as nobody speaks there
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
def test_a_chapter_ends_in_a_pause_if_there_is_one(
    intervals: list[tuple[float, float]],
    before: list[tuple[float, float]],
    after: list[tuple[float, float]],
) -> None:
    assert split_at(*intervals) == (before, after)


def test_a_chapter_that_ends_where_nobody_pauses_shares_seconds_with_the_next() -> None:
    first, second = packed(None), packed(None, first=1)
    talking = parts_of((60, 121))
    heard = Heard(130 * SECOND, talking, 130 * SECOND, ended=False)
    windows, later = list(first.windows(heard)), list(second.windows(heard))
    ends = [window for window in windows if window.index < WINDOWS]
    assert ends[-1].pieces[-1][1] == BOUND
    assert [window.index // WINDOWS for window in windows[len(ends) :]] == [1] * len(later)
    assert windows[len(ends) :] == later != []
    assert later[0].pieces[0][0] == BOUND - (WINDOW - HOP)
    assert later[0].place == BOUND


def test_a_chapter_is_not_ended_before_all_is_known_of_its_end() -> None:
    cutter = packed(None)
    assert list(cutter.windows(Heard(BOUND + 1, parts_of((115, 116)), BOUND - 1, ended=False))) == []
    assert cutter.needed[0] == (115 * SECOND, 116 * SECOND)
    assert cutter.place == 115 * SECOND
    assert list(cutter.windows(Heard(BOUND + 2, [], BOUND, ended=False))) == []
    assert list(cutter.windows(Heard(BOUND + 2, [], BOUND + 1, ended=False)))
    assert cutter.place == BOUND + 1
    assert not cutter.done


def test_a_recording_that_ends_with_a_chapter_has_no_further_one() -> None:
    cutter = packed(None)
    windows = list(cutter.windows(Heard(BOUND, parts_of((60, 120)), BOUND, ended=True)))
    assert {window.index // WINDOWS for window in windows} == {0}


def test_windows_of_the_grid_behind_one_that_reaches_the_end_are_not_there_whoever_reads() -> None:
    n_samples = 5 * HOP + 900  # the window before reaches the end
    for first in (0, 5, 6):
        cutter = FixedWindows(((index * HOP, index) for index in itertools.count(first)), WINDOW, HOP)
        indices = [window.index for window in found(cutter, n_samples)]
        assert indices == list(range(first, 5))


def test_no_window_of_the_grid_is_given_before_the_speech_before_it_is_settled() -> None:
    cutter = grid()
    heard = Heard(10 * WINDOW, [], HOP, ended=False)
    assert [window.index for window in cutter.windows(heard)] == [0, 1]
    assert cutter.place == 2 * HOP
