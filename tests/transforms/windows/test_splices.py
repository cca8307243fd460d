from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.types import Intervals
from transforms.windows.splices import MOST_OVERHANG, behind, end_to_end, in_recording, joined, length

SECOND = 16_000
PIECES = ((5 * SECOND, 10 * SECOND), (100 * SECOND, 103 * SECOND), (110 * SECOND, 120 * SECOND))
FIRST, SECOND_SPLICE = 5 * SECOND, 8 * SECOND  # where two pieces meet in the window


@st.composite
def some_pieces(draw: st.DrawFn) -> Intervals:
    sizes = st.tuples(st.integers(1, 30_000), st.integers(1, 50_000))
    pieces, before = [], draw(st.integers(0, 1000))
    for gap, size in draw(st.lists(sizes, min_size=1, max_size=6)):
        pieces.append((before + gap, before + gap + size))
        before += gap + size
    return tuple(pieces)


def samples(pieces: Intervals) -> list[int]:
    return [sample for start, stop in pieces for sample in range(start, stop)]


def test_what_touches_or_overlaps_is_one_piece() -> None:
    assert joined([(0, 3), (3, 5), (6, 9), (7, 8), (9, 12), (20, 21)]) == ((0, 5), (6, 12), (20, 21))
    assert joined([]) == ()


def test_pieces_lie_one_behind_the_other() -> None:
    assert end_to_end(((5, 10), (100, 103), (103, 104))) == ((0, 5), (5, 8), (8, 9))


@settings(deadline=None)
@given(some_pieces(), st.integers(0, 60_000))
def test_what_is_behind_some_samples_is_the_rest(pieces: Intervals, offset: int) -> None:
    assert samples(behind(pieces, offset)) == samples(pieces)[offset:]


def test_a_plain_window_is_moved() -> None:
    assert in_recording(((400, 900),), 0, 500) == (400, 900)
    assert in_recording(((400, 900),), 30, 30) == (430, 430)


def test_what_meets_a_splice_is_on_its_own_side_of_it() -> None:
    assert in_recording(PIECES, 3 * SECOND, FIRST) == (8 * SECOND, 10 * SECOND)
    assert in_recording(PIECES, FIRST, SECOND_SPLICE) == PIECES[1]
    assert in_recording(PIECES, 0, length(PIECES)) == (5 * SECOND, 120 * SECOND)


def test_what_reaches_over_a_splice_has_its_real_times_at_both_ends() -> None:
    assert in_recording(PIECES, 4 * SECOND, 6 * SECOND) == (9 * SECOND, 101 * SECOND)
    assert in_recording(PIECES, 4 * SECOND, 9 * SECOND) == (9 * SECOND, 111 * SECOND)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (MOST_OVERHANG, 2 * SECOND, (100 * SECOND, 102 * SECOND)),
        (MOST_OVERHANG + 1, 2 * SECOND, (10 * SECOND - MOST_OVERHANG - 1, 102 * SECOND)),
        (SECOND, MOST_OVERHANG, (9 * SECOND, 10 * SECOND)),
        (SECOND, MOST_OVERHANG + 1, (9 * SECOND, 100 * SECOND + MOST_OVERHANG + 1)),
        (100, 90, (10 * SECOND - 100, 10 * SECOND)),
        (90, 100, (100 * SECOND, 100 * SECOND + 100)),
    ],
)
def test_times_that_are_a_little_off_stay_on_one_side(
    before: int, after: int, expected: tuple[int, int]
) -> None:
    assert in_recording(PIECES, FIRST - before, FIRST + after) == expected


def test_what_has_no_length_has_none_in_the_recording() -> None:
    assert in_recording(PIECES, FIRST, FIRST) == (10 * SECOND, 10 * SECOND)


@settings(deadline=None)
@given(some_pieces(), st.lists(st.integers(0, 10**6), min_size=2, max_size=12))
def test_times_are_in_the_pieces_and_what_follows_never_begins_earlier(
    pieces: Intervals, times: list[int]
) -> None:
    total = length(pieces)
    times = sorted(time % (total + 1) for time in times)
    found = [in_recording(pieces, start, stop) for start, stop in pairwise(times)]
    for start, stop in found:
        assert start <= stop
        assert all(any(first <= time <= last for first, last in pieces) for time in (start, stop))
    assert all(stop <= start for (_, stop), (start, _) in pairwise(found))


@settings(deadline=None)
@given(some_pieces(), st.data())
def test_what_lies_in_a_piece_is_found_there(pieces: Intervals, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(pieces) - 1))
    (first, last), (place, _) = pieces[number], end_to_end(pieces)[number]
    start = data.draw(st.integers(first, last - 1))
    stop = data.draw(st.integers(start + 1, last))
    assert in_recording(pieces, start - first + place, stop - first + place) == (start, stop)
