"""Differences of intervals, of samples or of seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Place = TypeVar("Place", int, float)


def uncovered(
    start: Place, stop: Place, covered: Iterable[tuple[Place, Place]]
) -> Iterator[tuple[Place, Place]]:
    """Yields the parts of an interval that none of others covers, in order.

    Args:
        start: start of the interval.
        stop: its end.
        covered: (start, stop) of the others, sorted; they may overlap.
    """
    at = start
    for first, last in covered:
        if first >= stop:
            break
        if first > at:
            yield at, first
        at = max(at, last)
    if at < stop:
        yield at, stop
