"""Limits the downloads of a process from each host at a time, and detects unresponsive hosts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from transforms.core.cancellation import CHECK_S, Check, check_stop
from transforms.core.errors import AudioError

UNRESPONSIVE_AFTER = 5
"""Consecutive downloads without any answer after which a host counts as unresponsive."""


class HostSlots:
    """Limits the downloads of a process from each host at a time, and detects unresponsive hosts."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._n_unanswered: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, host: str, n_max: int, timeout_s: float, check: Check = check_stop) -> Iterator[None]:
        """Waits for one of the `n_max` slots of a host, and holds it in the context.

        Raises:
            AudioError: `timeout`, if no slot was free in time.
            Exception: raised by `check`.
        """
        with self._changed:
            deadline = monotonic() + timeout_s
            while self._taken[host] >= n_max:
                check()
                left_s = deadline - monotonic()
                if left_s <= 0:
                    message = f"{n_max} other downloads from {host} took longer than {timeout_s:.0f} s"
                    raise AudioError("fetch", "timeout", message, retryable=True)
                self._changed.wait(min(left_s, CHECK_S))
            self._taken[host] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[host] -= 1
                if not self._taken[host]:
                    del self._taken[host]
                self._changed.notify_all()

    def is_unresponsive(self, host: str) -> bool:
        """Whether the last downloads from a host all ended without any answer."""
        with self._changed:
            return self._n_unanswered.get(host, 0) >= UNRESPONSIVE_AFTER

    def record_answer(self, host: str) -> None:
        """Records that a host answered, with any status."""
        with self._changed:
            self._n_unanswered.pop(host, None)

    def record_no_answer(self, host: str) -> None:
        """Records a download that ended without any answer from the host."""
        with self._changed:
            self._n_unanswered[host] += 1


HOSTS = HostSlots()
"""The slots of this process."""
