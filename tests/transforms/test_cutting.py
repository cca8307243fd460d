from __future__ import annotations

import itertools

import pytest

from model.interface import SPEECH_CHUNK
from transforms.cutting import Cutter, FixedWindows, Heard, PlannedWindow, SpeechWindows
from transforms.packing import Packing
from transforms.speech import SpeechPart

WINDOW, HOP = 3_000, 2_000


def grid() -> FixedWindows:
    return FixedWindows(((index * HOP, index) for index in itertools.count()), WINDOW, HOP)


def found(cutter: Cutter, n_samples: int, ended: bool = True) -> list[PlannedWindow]:
    return list(cutter.windows(Heard(n_samples, [], 0, ended)))


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
    assert found(cutter, WINDOW + SPEECH_CHUNK, ended=False) == [PlannedWindow(0, ((0, WINDOW),), HOP)]
    assert (cutter.needed, cutter.listens_from) == (((HOP, WINDOW + SPEECH_CHUNK),), HOP)
    assert not cutter.done
    assert len(found(cutter, WINDOW + SPEECH_CHUNK)) == 1
    assert cutter.done


def test_windows_off_the_grid_own_nothing_and_nothing_is_needed_before_them() -> None:
    cutter = FixedWindows([(2_500, -1), (4_000, 2), (9_000, -5)], WINDOW, HOP)
    assert found(cutter, 1_000, ended=False) == []
    assert cutter.needed == ((1_000, 1_000),)
    windows = found(cutter, 8_000)
    assert windows == [PlannedWindow(-1, ((2_500, 5_500),), 0), PlannedWindow(2, ((4_000, 7_000),), HOP)]


def talk() -> list[SpeechPart]:
    return [
        SpeechPart(1_000, 3_000, 1_100),
        SpeechPart(5_000, 7_000, 2_100),
        SpeechPart(9_000, 10_000, 2_100),
    ]


def test_windows_over_speech_are_numbered_and_know_what_they_are_made_of() -> None:
    cutter = SpeechWindows(Packing(WINDOW, HOP), None)
    windows = list(cutter.windows(Heard(11_000, talk(), 11_000, ended=True)))
    assert windows == [
        PlannedWindow(0, ((1_000, 3_000),), 2_000, ((1_000, 3_000),)),
        PlannedWindow(1, ((5_000, 7_000), (9_000, 10_000)), 3_000, ((5_000, 7_000), (9_000, 10_000))),
    ]
    assert not cutter.done  # it cannot know


def test_needed_is_the_speech_that_waits_and_what_may_still_become_speech() -> None:
    cutter = SpeechWindows(Packing(WINDOW, HOP), None)
    (window,) = cutter.windows(Heard(12_000, talk(), 11_500, ended=False))
    assert window.index == 0
    assert cutter.needed == ((5_000, 7_000), (9_000, 10_000), (11_500, 12_000))
    assert cutter.listens_from == 12_000


def test_windows_wanted_alone_have_the_same_numbers() -> None:
    cutter = SpeechWindows(Packing(WINDOW, HOP), frozenset({0}))
    assert not cutter.done
    assert [window.index for window in cutter.windows(Heard(12_000, talk(), 11_500, ended=False))] == [0]
    assert cutter.done
    second = SpeechWindows(Packing(WINDOW, HOP), frozenset({1}))
    (window,) = second.windows(Heard(11_000, talk(), 11_000, ended=True))
    assert (window.index, window.pieces[0]) == (1, (5_000, 7_000))
    assert SpeechWindows(Packing(WINDOW, HOP), frozenset()).done
