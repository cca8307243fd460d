"""Bounds how many downloads a process has under way from a host, and knows which hosts are silent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from transforms.core.errors import AudioError

SILENT_AFTER = 5
"""Downloads in a row of which a host answered no attempt, until it counts as silent."""


class HostSlots:
    """Bounds how many downloads a process has under way from a host, and knows which hosts are silent."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, host: str, most: int, timeout_s: float) -> Iterator[None]:
        """Waits until fewer than `most` others hold a slot of the host, and holds one.

        Raises:
            AudioError: `timeout`, when none was free in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken[host] < most, timeout=max(timeout_s, 0)):
                message = f"{most} other downloads from {host} took all of the {timeout_s:.0f} s there were"
                raise AudioError("fetch", "timeout", message, retryable=True)
            self._taken[host] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[host] -= 1
                if not self._taken[host]:
                    del self._taken[host]
                self._changed.notify_all()

    def is_silent(self, host: str) -> bool:
        """Whether the last downloads from a host all were given up without any answer."""
        with self._changed:
            return self._unanswered.get(host, 0) >= SILENT_AFTER

    def answered(self, host: str) -> None:
        """Says that a host answered, whatever it said."""
        with self._changed:
            self._unanswered.pop(host, None)

    def given_up(self, host: str) -> None:
        """Says that a download was given up; it counts if the host has not answered since."""
        with self._changed:
            self._unanswered[host] += 1


HOSTS = HostSlots()
"""Of this process."""
