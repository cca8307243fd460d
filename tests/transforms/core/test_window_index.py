"""Tests of the encoding of window indices, which are stored in commit logs."""

import pytest

from transforms.core.window_index import (
    WINDOWS_PER_SECTION,
    WindowId,
    extra_index,
    is_extra,
    is_next,
    left_of_extra,
)


@pytest.mark.parametrize(
    ("window", "index"),
    [
        (WindowId(0, 0), 0),
        (WindowId(0, 7), 7),
        (WindowId(1, 0), 1_048_576),
        (WindowId(3, 2), 3 * WINDOWS_PER_SECTION + 2),
    ],
)
def test_window_id_and_index_convert_into_each_other(window: WindowId, index: int) -> None:
    assert window.to_index() == index
    assert WindowId.from_index(index) == window


def test_indices_sort_by_section_and_number() -> None:
    windows = [WindowId(section, number) for section in range(3) for number in (0, 1, 99)]
    assert [window.to_index() for window in windows] == sorted(window.to_index() for window in windows)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (WindowId(0, 4), WindowId(0, 5), True),
        (WindowId(0, 4), WindowId(0, 6), False),
        (WindowId(0, 5), WindowId(0, 4), False),
        (WindowId(0, 4), WindowId(1, 0), True),
        (WindowId(0, 4), WindowId(1, 1), False),
        (WindowId(0, 4), WindowId(2, 0), False),
    ],
)
def test_next_window_is_in_the_same_section_or_first_of_the_next(
    left: WindowId, right: WindowId, expected: bool
) -> None:
    assert is_next(left.to_index(), right.to_index()) is expected


@pytest.mark.parametrize("left", [0, 1, WindowId(2, 3).to_index()])
def test_extra_indices_are_negative_and_name_their_left_window(left: int) -> None:
    assert extra_index(left) == -left - 1
    assert is_extra(extra_index(left))
    assert not is_extra(left)
    assert left_of_extra(extra_index(left)) == left
