"""Boundaries on which two windows hardly agree, decoded once more by a window that has them in its middle.

A window hears its edges worst: a sentence that is cut, a first word without what came before. Where the words
of two neighbours do not match in the seconds they share, a third window over both of their edges hears these
seconds whole, and is joined to each of them seconds further in, where all of them hear well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from model.interface import SAMPLE_RATE
from transforms.core.sections import follows
from transforms.core.types import CutKind, WindowTranscript
from transforms.merging.merge import merge_windows

LEAST_STEP_S = 1.0  # by which such a window starts after its left neighbour, and ends before its right one


def is_extra(window: WindowTranscript) -> bool:
    """Whether it is about a boundary, and none of the plan: those have negative indices."""
    return window.index < 0


def about_weak_boundaries(
    windows: Sequence[WindowTranscript], redecode_below: float, window_s: float
) -> tuple[tuple[int, int], ...]:
    """The windows to be decoded about boundaries with an agreement under `redecode_below`.

    Args:
        windows: of one recording and in one language, in any order.
        redecode_below: 0 for none.
        window_s: seconds in a window that is decoded about a boundary.

    Returns:
        An index, which is -1 for the window between 0 and 1, and the first sample, of each.
    """
    if redecode_below <= 0:
        return ()
    ordered = sorted(windows, key=lambda window: window.start_s)
    found = []
    for left, right in pairwise(ordered):
        if left.language != right.language or not follows(left.index, right.index):
            continue
        (boundary,) = merge_windows([left, right], right.end_s).boundaries
        start_s = _start_s(left, right, boundary.time_s, window_s)
        weak = boundary.agreement < redecode_below and boundary.kind is not CutKind.DISJOINT
        if weak and start_s is not None:
            found.append((-left.index - 1, round(start_s * SAMPLE_RATE)))
    return tuple(found)


def _start_s(left: WindowTranscript, right: WindowTranscript, time_s: float, window_s: float) -> float | None:
    """Where a window with `time_s` in its middle starts; None when there is no room for one."""
    start_s = min(time_s - window_s / 2, right.end_s - LEAST_STEP_S - window_s)
    return start_s if start_s >= left.start_s + LEAST_STEP_S else None


def with_better_boundaries(
    planned: Sequence[WindowTranscript], extra: Sequence[WindowTranscript]
) -> list[WindowTranscript]:
    """The windows of the plan, in order, with those about boundaries that both neighbours agree with more."""
    by_left = {-window.index - 1: window for window in extra}
    kept = list(planned[:1])
    for left, right in pairwise(planned):
        middle = by_left.get(left.index)
        if middle is not None and follows(left.index, right.index) and _is_better(left, middle, right):
            kept.append(middle)
        kept.append(right)
    return kept


def _is_better(left: WindowTranscript, middle: WindowTranscript, right: WindowTranscript) -> bool:
    (before,) = merge_windows([left, right], right.end_s).boundaries
    after = merge_windows([left, middle, right], right.end_s).boundaries
    return min(boundary.agreement for boundary in after) > before.agreement
