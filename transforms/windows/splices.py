"""Maps samples of a window to samples of its recording.

A window consists of stretches of a recording, one behind the other. A splice is where two of them meet: the
silence between them was cut out. `in_recording` is the only function that converts samples of a window into
samples of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable

from transforms.core.types import Intervals
from transforms.windows.speech_intervals import PADDING_SAMPLES

MAX_OVERHANG = PADDING_SAMPLES
"""Samples by which a time may lie on the wrong side of a splice: so much of both its sides is silence."""


def length(stretches: Intervals) -> int:
    """Returns the number of samples in all stretches."""
    return sum(stop - start for start, stop in stretches)


def joined(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """Returns the same samples, where intervals that touch or overlap are one.

    Args:
        intervals: sorted by their starts.
    """
    stretches: list[tuple[int, int]] = []
    for start, stop in intervals:
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(stretches[-1][1], stop)
        else:
            stretches.append((start, stop))
    return tuple(stretches)


def in_window(stretches: Intervals) -> Intervals:
    """Returns the samples of the window, (start, stop), that each stretch fills."""
    places, n_before = [], 0
    for start, stop in stretches:
        places.append((n_before, n_before + stop - start))
        n_before += stop - start
    return tuple(places)


def behind(stretches: Intervals, offset: int) -> Intervals:
    """Returns the stretches without the first `offset` samples of the window."""
    placed = zip(stretches, in_window(stretches), strict=True)
    return tuple(
        (max(start, start + offset - place), stop) for (start, stop), (place, end) in placed if end > offset
    )


def in_recording(stretches: Intervals, start: int, stop: int) -> tuple[int, int]:
    """Returns the samples of the recording that correspond to an interval of the window, such as a word's.

    An interval starts in the stretch behind a splice and ends in the stretch before it. The times of a model
    are not that exact: an interval that reaches over a splice by no more than the silence there
    (`MAX_OVERHANG`) is cut off at the splice. One that reaches further lasts as long as it did in the
    recording. Of two intervals that follow each other in the window, the second does not start before the
    first one ends.

    Args:
        stretches: stretches of the window, at least one.
        start: sample of the window.
        stop: sample of the window, `start <= stop <= length(stretches)`.
    """
    places = in_window(stretches)
    last = next(number for number, (_, end) in enumerate(places) if stop <= end)
    first = max((number for number, (begin, _) in enumerate(places[: last + 1]) if begin <= start), default=0)
    while first < last:
        before, after = places[first][1] - start, stop - places[last][0]
        if min(before, after) > MAX_OVERHANG:
            break
        if before <= after:
            first += 1
            start = places[first][0]
        else:
            last -= 1
            stop = places[last][1]
    return stretches[first][0] + start - places[first][0], stretches[last][0] + stop - places[last][0]
