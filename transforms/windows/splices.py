"""Where the samples of a window are in its recording.

A window holds pieces of a recording, one behind the other; where two meet, the silence between them was cut
out. `in_recording` is the one place in which samples of a window become samples of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable

from transforms.core.types import Intervals
from transforms.windows.speech_intervals import PADDING_SAMPLES

MOST_OVERHANG = PADDING_SAMPLES
"""By how much a time may be on the wrong side of a splice: so much of both its sides is silence."""


def length(pieces: Intervals) -> int:
    """Samples in all of them."""
    return sum(stop - start for start, stop in pieces)


def joined(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """The same samples, with intervals that touch or overlap as one.

    Args:
        intervals: by their starts.
    """
    pieces: list[tuple[int, int]] = []
    for start, stop in intervals:
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = pieces[-1][0], max(pieces[-1][1], stop)
        else:
            pieces.append((start, stop))
    return tuple(pieces)


def end_to_end(pieces: Intervals) -> Intervals:
    """Where each of them is in the window that they make."""
    places, n_before = [], 0
    for start, stop in pieces:
        places.append((n_before, n_before + stop - start))
        n_before += stop - start
    return tuple(places)


def behind(pieces: Intervals, offset: int) -> Intervals:
    """What is left of them behind the first `offset` samples."""
    placed = zip(pieces, end_to_end(pieces), strict=True)
    return tuple(
        (max(start, start + offset - place), stop) for (start, stop), (place, end) in placed if end > offset
    )


def in_recording(pieces: Intervals, start: int, stop: int) -> tuple[int, int]:
    """The samples of the recording that something begins and ends with which is timed in the window.

    It begins in the piece that follows a splice, and ends in the one before. A model's times are not that
    exact: what reaches over a splice by no more than the silence there is (`MOST_OVERHANG`) does not reach
    over it. What reaches further lasts as long as it did in the recording. Of two things that follow each
    other in the window, the second does not begin before the first one ends.

    Args:
        pieces: of the window, at least one.
        start: sample of the window.
        stop: sample of the window, `start <= stop <= length(pieces)`.
    """
    places = end_to_end(pieces)
    last = next(number for number, (_, end) in enumerate(places) if stop <= end)
    first = max((number for number, (begin, _) in enumerate(places[: last + 1]) if begin <= start), default=0)
    while first < last:
        before, after = places[first][1] - start, stop - places[last][0]
        if min(before, after) > MOST_OVERHANG:
            break
        if before <= after:
            first += 1
            start = places[first][0]
        else:
            last -= 1
            stop = places[last][1]
    return pieces[first][0] + start - places[first][0], pieces[last][0] + stop - places[last][0]
