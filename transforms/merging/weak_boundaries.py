"""Decodes boundaries on which two windows hardly agree once more, with a window centred on the boundary.

Recognition is worst at the edges of a window: a sentence is cut, and the first word lacks its context. Where
the words of two neighbours do not match in the seconds that they share, a third window contains these seconds
and both edges as a whole. It is merged with each neighbour a few seconds further inside, where both recognise
well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from model.interface import SAMPLE_RATE
from transforms.core.types import CutKind, WindowTranscript
from transforms.core.window_index import extra_index, is_next, left_of_extra
from transforms.merging.merge import merge_windows

MIN_STEP_S = 1.0
"""Seconds by which such a window starts after its left neighbour, and ends before its right one, at least."""


def weak_boundary_windows(
    windows: Sequence[WindowTranscript], redecode_below: float, window_s: float
) -> tuple[tuple[int, int], ...]:
    """Returns the windows to decode about boundaries with an agreement below `redecode_below`.

    Args:
        windows: windows of one recording and in one language, in any order.
        redecode_below: 0 for none.
        window_s: seconds in a window about a boundary.

    Returns:
        For each, its index (`transforms.core.window_index.extra_index`) and its first sample.
    """
    if redecode_below <= 0:
        return ()
    ordered = sorted(windows, key=lambda window: window.start_s)
    found = []
    for left, right in pairwise(ordered):
        if left.language != right.language or not is_next(left.index, right.index):
            continue
        (boundary,) = merge_windows([left, right], right.end_s).boundaries
        start_s = _start_s(left, right, boundary.time_s, window_s)
        weak = boundary.agreement < redecode_below and boundary.kind is not CutKind.DISJOINT
        if weak and start_s is not None:
            found.append((extra_index(left.index), round(start_s * SAMPLE_RATE)))
    return tuple(found)


def _start_s(left: WindowTranscript, right: WindowTranscript, time_s: float, window_s: float) -> float | None:
    """Returns the start of a window with `time_s` in its middle; None if none fits between the neighbours."""
    start_s = min(time_s - window_s / 2, right.end_s - MIN_STEP_S - window_s)
    return start_s if start_s >= left.start_s + MIN_STEP_S else None


def use_better_boundaries(
    planned: Sequence[WindowTranscript], extra: Sequence[WindowTranscript]
) -> list[WindowTranscript]:
    """Inserts those windows about boundaries with which both neighbours agree more than with each other.

    Args:
        planned: the windows of the plan, in order.
        extra: the windows about boundaries, in any order.
    """
    by_left = {left_of_extra(window.index): window for window in extra}
    kept = list(planned[:1])
    for left, right in pairwise(planned):
        middle = by_left.get(left.index)
        if middle is not None and is_next(left.index, right.index) and _is_better(left, middle, right):
            kept.append(middle)
        kept.append(right)
    return kept


def _is_better(left: WindowTranscript, middle: WindowTranscript, right: WindowTranscript) -> bool:
    (before,) = merge_windows([left, right], right.end_s).boundaries
    after = merge_windows([left, middle, right], right.end_s).boundaries
    return min(boundary.agreement for boundary in after) > before.agreement
