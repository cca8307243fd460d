"""Shared/exclusive lock of a process: ordinary bundles run together; a span that may crash it runs alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

_POLL_S = 0.2  # maximum delay of the reaction to a cancellation


class SharedExclusiveLock:
    """A lock with shared holders or one exclusive holder; exclusive requests precede later shared ones.

    A holder that requests the exclusive lock must have released its shared one, and must have no pending
    work: so there is no deadlock. A holder that is garbage-collected releases the lock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: WeakSet[Any] = WeakSet()
        self._is_exclusive = False
        self._n_waiting = 0  # for the exclusive lock

    @property
    def wanted(self) -> bool:
        """Whether an exclusive request waits: shared holders should finish their work and release it."""
        with self._changed:
            return self._n_waiting > 0

    def acquire(self, holder: object, *, exclusive: bool, check: Callable[[], None]) -> None:
        """Waits for the lock and holds it; a holder of the shared lock acquires it again at once.

        Args:
            holder: weakly referenceable; must not hold the lock when it requests the exclusive one.
            exclusive: whether to hold it without other holders.
            check: called while it waits; if it raises, the lock is not held.
        """
        with self._changed:
            self._n_waiting += exclusive
            try:
                while not self._is_available(holder, exclusive):
                    check()
                    self._changed.wait(_POLL_S)
            finally:
                self._n_waiting -= exclusive
                self._changed.notify_all()
            self._holders.add(holder)
            self._is_exclusive = exclusive

    def release(self, holder: object) -> None:
        """Releases the lock, if it is held."""
        with self._changed:
            self._holders.discard(holder)
            self._changed.notify_all()

    def _is_available(self, holder: object, exclusive: bool) -> bool:
        if exclusive:
            return not self._holders
        is_taken = self._is_exclusive and len(self._holders) > 0
        return holder in self._holders or not (is_taken or self._n_waiting)
