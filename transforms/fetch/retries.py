"""Attempts at a download, until one succeeds or the others are not worth it."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic, sleep

from transforms.core.cancellation import check_stop
from transforms.core.errors import AudioError
from transforms.fetch.policy import Limits
from transforms.fetch.spool import DISK, NoRoomError, Spool

NAP_S = 0.2  # how soon a wait sees that the run is to stop


def with_retries(
    attempt: Callable[[], None],
    spool: Spool,
    limits: Limits,
    deadline: float,
    given_up_on: frozenset[str] = frozenset(),
) -> None:
    """Calls `attempt` until it succeeds.

    What counts against `limits.attempts` and `limits.give_up_s` are attempts without progress: a download
    that breaks off every gigabyte and goes on from there comes to its end. A wait that the server asked for
    counts as an attempt, but not as time. Waiting for room on the disk counts as neither.

    Args:
        attempt: goes on with the copy in `spool`, or begins it again.
        spool: tells of progress.
        limits: of the download.
        deadline: when no attempt may begin any more, as `time.monotonic` has it.
        given_up_on: kinds of errors that are not tried again this time.

    Raises:
        AudioError: of the last attempt, with `attempts`.
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
                spool.restart()  # two that wait for each other's room would wait for ever
                if not DISK.wait(error.n_bytes, limits, deadline):
                    raise
                continue
            wait_s = budget.wait_after(error)
            if wait_s is None or error.kind in given_up_on:
                raise
        _nap(wait_s)


class _Budget:
    def __init__(self, spool: Spool, limits: Limits, deadline: float) -> None:
        self._spool, self._limits, self._deadline = spool, limits, deadline
        self._fruitless = 0
        self._progressed_at, self._most_bytes = monotonic(), 0

    def wait_after(self, error: AudioError) -> float | None:
        """Seconds until the next attempt; None if there is to be none."""
        limits, now = self._limits, monotonic()
        if self._spool.most_bytes - self._most_bytes >= limits.progress_bytes:
            self._fruitless = 0
            self._progressed_at, self._most_bytes = now, self._spool.most_bytes
        self._fruitless += 1
        wait_s = back_off_s(self._fruitless, limits)
        if error.retry_after_s is not None:
            asked_s = max(error.retry_after_s, wait_s)
            self._progressed_at += asked_s
            wait_s = asked_s
        is_late = now + wait_s >= min(self._deadline, self._progressed_at + limits.give_up_s)
        return None if not error.retryable or self._fruitless >= limits.attempts or is_late else wait_s


def back_off_s(n_failed: int, limits: Limits) -> float:
    """Seconds to wait after so many failures in a row: twice as many each time, half of them by chance.

    The chance keeps workers that failed together from coming back together.
    """
    longest_s = min(limits.back_off_s * 2.0 ** (n_failed - 1), limits.longest_wait_s)
    return longest_s * random.uniform(0.5, 1.0)


def _nap(seconds: float) -> None:
    until = monotonic() + seconds
    while (left_s := until - monotonic()) > 0:
        check_stop()
        sleep(min(left_s, NAP_S))
