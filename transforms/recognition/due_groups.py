"""Which batches a lane advances, and which wait until more of their rows are taken.

A step of a batch takes as long for one row as for all. Windows that are decoded again come one by one, and
the text of one may be far longer than the others', so a batch with few windows costs as much as a full one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Set

_SHORT_WAIT_S, _LONG_WAIT_S = 0.1, 10.0
"""How long a window of a short client, or another, waits while those of other groups are decoded."""

_FILLED = 0.75
"""Part of the rows with which a batch does not wait for more windows."""


def longest_wait_s(*, is_short: bool) -> float:
    """Returns the seconds that a window waits at most while those of other groups are decoded.

    Args:
        is_short: whether its client has few windows, and so waits for this one.
    """
    return _SHORT_WAIT_S if is_short else _LONG_WAIT_S


def due_groups(
    waiting: Iterable[Hashable], running: Iterable[Hashable], overdue: Iterable[Hashable], n_rows: int
) -> Set[Hashable]:
    """Returns the groups of which a lane takes windows, and whose batches it advances, in turns.

    Args:
        waiting: the group of each window that waits.
        running: the group of each window that the lane decodes.
        overdue: the groups of windows that have waited long enough.
        n_rows: rows of a batch.
    """
    n_running, overdue = Counter(running), set(overdue)
    n_windows, few = n_running + Counter(waiting), max(1, n_rows // 2)
    due = {
        group
        for group, n in n_windows.items()
        if n >= _FILLED * n_rows or group in overdue or n_running.total() - n_running[group] < few
    }
    return due or {group for group, _ in n_windows.most_common(1)}
