from __future__ import annotations

import pytest

from transforms.core.intervals import uncovered


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        ([], [(2, 10)]),
        ([(0, 3), (5, 6)], [(3, 5), (6, 10)]),
        ([(1, 4), (3, 5), (9, 12)], [(5, 9)]),
        ([(2, 10)], []),
        ([(0, 2), (10, 12)], [(2, 10)]),
        ([(4, 8), (5, 6)], [(2, 4), (8, 10)]),
    ],
)
def test_parts_that_are_not_covered(covered: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    assert list(uncovered(2, 10, covered)) == expected


def test_nothing_of_an_empty_interval_is_uncovered() -> None:
    assert list(uncovered(3.5, 3.5, [(1.0, 2.0)])) == []
