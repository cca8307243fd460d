from __future__ import annotations

from dataclasses import replace

import pytest

from model.interface import SAMPLE_RATE
from transforms.core.types import Segment, WindowTranscript
from transforms.core.window_index import is_extra
from transforms.merging.merge import merge_windows
from transforms.merging.weak_boundaries import use_better_boundaries, weak_boundary_windows


def window(index: int, start_s: float, end_s: float, *said: tuple[float, str]) -> WindowTranscript:
    segments = tuple(
        Segment(at_s, min(at_s + 0.5 * len(text.split()), end_s), f" {text}", -0.3, 0.1, 1.2, 0.0, "en")
        for at_s, text in said
    )
    return WindowTranscript("id", index, start_s, end_s, segments, "en")


LEFT = window(0, 0, 30, (20, "we went to the river early"), (26, "where whatever was on hand"))
RIGHT = window(1, 25, 55, (25.2, "there water was all round"), (31, "and swam until noon"))
AGREEING = window(1, 25, 55, (26, "where whatever was on hand"), (31, "and swam until noon"))
MIDDLE = window(
    -1,
    12.5,
    42.5,
    (20, "we went to the river early"),
    (26, "where water was all around"),
    (31, "and swam until noon"),
)


def test_a_window_about_each_weak_boundary_has_it_in_its_middle() -> None:
    ((index, start),) = weak_boundary_windows([RIGHT, LEFT], 0.5, 30)
    (boundary,) = merge_windows([LEFT, RIGHT], 55).boundaries
    assert boundary.agreement < 0.5
    assert index == -1
    assert start / SAMPLE_RATE + 15 == pytest.approx(boundary.time_s, abs=1e-3)


def test_no_window_is_made_where_boundaries_agree_or_when_it_is_off() -> None:
    assert weak_boundary_windows([LEFT, AGREEING], 0.5, 30) == ()
    assert weak_boundary_windows([LEFT, RIGHT], 0.0, 30) == ()


def test_only_neighbours_in_one_language() -> None:
    assert weak_boundary_windows([LEFT, replace(RIGHT, language="cy")], 0.5, 30) == ()
    assert weak_boundary_windows([LEFT, replace(RIGHT, index=2)], 0.5, 30) == ()


def test_it_has_the_maximum_length_of_a_window_for_any_neighbours() -> None:
    packed = replace(LEFT, start_s=-300.0)  # with speech of minutes before
    assert weak_boundary_windows([packed, RIGHT], 0.5, 30) == weak_boundary_windows([LEFT, RIGHT], 0.5, 30)


def test_windows_that_share_nothing_have_no_weak_boundary() -> None:
    assert weak_boundary_windows([LEFT, replace(RIGHT, start_s=30.0)], 0.5, 30) == ()


def test_it_ends_before_a_right_window_that_the_recordings_end_cuts() -> None:
    short = replace(RIGHT, end_s=34.0)
    ((_, start),) = weak_boundary_windows([LEFT, short], 0.5, 30)
    assert start / SAMPLE_RATE == 3.0
    assert weak_boundary_windows([LEFT, replace(RIGHT, end_s=31.5)], 0.5, 30) == ()  # no room


def test_the_better_text_is_kept() -> None:
    assert is_extra(MIDDLE.index)
    windows = use_better_boundaries([LEFT, RIGHT], [MIDDLE])
    assert windows == [LEFT, MIDDLE, RIGHT]
    text = merge_windows(windows, 55).text
    assert text == "we went to the river early where water was all around and swam until noon"


def test_a_window_that_agrees_with_no_neighbour_is_not_kept() -> None:
    odd = window(-1, 12.5, 42.5, (14, "thanks for watching this"), (30, "please subscribe to my channel now"))
    assert use_better_boundaries([LEFT, RIGHT], [odd]) == [LEFT, RIGHT]
    assert use_better_boundaries([LEFT, AGREEING], [MIDDLE]) == [LEFT, AGREEING]
    assert use_better_boundaries([LEFT, RIGHT], []) == [LEFT, RIGHT]
