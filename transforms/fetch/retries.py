"""Retries a download until it succeeds or its limits are exhausted."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic, sleep

from transforms.core.cancellation import CHECK_S, Check, check_stop
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits
from transforms.fetch.spool import DISK, NoRoomError, Spool


def with_retries(
    attempt: Callable[[], None],
    spool: Spool,
    limits: Limits,
    deadline: float,
    no_retry_kinds: frozenset[str] = frozenset(),
    check: Check = check_stop,
) -> None:
    """Calls `attempt` until it succeeds.

    Only attempts without progress count against `limits.attempts` and `limits.give_up_s`: a download that is
    interrupted every gigabyte and resumed from there completes. A wait that the server asked for counts as an
    attempt, but not as time. Waiting for disk space counts as neither.

    Args:
        attempt: continues the copy in `spool`, or restarts it.
        spool: its length measures progress.
        limits: limits of the download.
        deadline: no attempt begins after it; on the clock of `time.monotonic`.
        no_retry_kinds: kinds of errors that are not retried.
        check: called during waits; may raise.

    Raises:
        AudioError: that of the last attempt, with `attempts` set.
    """
    budget = _Budget(spool, limits, deadline)
    made = 0
    while True:
        made += 1
        try:
            attempt()
            return
        except AudioError as error:
            error.attempts = made
            if isinstance(error, NoRoomError):
                spool.restart()  # avoids a deadlock of two downloads that wait for each other's space
                if not DISK.wait(error.n_bytes, limits, deadline, check):
                    raise
                continue
            wait_s = budget.wait_after(error)
            if wait_s is None or error.kind in no_retry_kinds:
                raise
        _sleep(wait_s, check)


class _Budget:
    """Counts attempts and time without progress."""

    def __init__(self, spool: Spool, limits: Limits, deadline: float) -> None:
        self._spool, self._limits, self._deadline = spool, limits, deadline
        self._n_fruitless = 0
        self._progressed_at, self._progress_bytes = monotonic(), 0

    def wait_after(self, error: AudioError) -> float | None:
        """Returns the seconds until the next attempt; None if there is none."""
        limits, now = self._limits, monotonic()
        if self._spool.peak_bytes - self._progress_bytes >= limits.progress_bytes:
            self._n_fruitless = 0
            self._progressed_at, self._progress_bytes = now, self._spool.peak_bytes
        self._n_fruitless += 1
        wait_s = back_off_s(self._n_fruitless, limits)
        if error.retry_after_s is not None:
            requested_s = max(error.retry_after_s, wait_s)
            self._progressed_at += requested_s
            wait_s = requested_s
        is_late = now + wait_s >= min(self._deadline, self._progressed_at + limits.give_up_s)
        return None if not error.retryable or self._n_fruitless >= limits.attempts or is_late else wait_s


def back_off_s(n_failed: int, limits: Limits) -> float:
    """Returns the wait in seconds after consecutive failures: doubled each time, half of it random.

    The random part keeps workers that failed at the same time from retrying at the same time.
    """
    max_s = min(limits.back_off_s * 2.0 ** (n_failed - 1), limits.max_wait_s)
    return max_s * random.uniform(0.5, 1.0)


def _sleep(seconds: float, check: Check) -> None:
    until = monotonic() + seconds
    while (left_s := until - monotonic()) > 0:
        check()
        sleep(min(left_s, CHECK_S))
