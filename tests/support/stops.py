"""Checks for cancellation, as the callers of a long work give them."""

from __future__ import annotations

import threading
from time import monotonic

from transforms.core.cancellation import StopRequestedError

END_S = 3.0
"""Bound for the end of a work: shorter than the shortest wait that the tests interrupt, which is 4.5 s."""


class OwnStopError(StopRequestedError):
    """Raised by the checks of a test."""


class StopAfter:
    """A check that raises from its nth call on."""

    def __init__(self, n_calls: int) -> None:
        self.n_calls, self.n_made = n_calls, 0

    def __call__(self) -> None:
        self.n_made += 1
        if self.n_made >= self.n_calls:
            raise OwnStopError


class StopSoon:
    """A check that raises from a time on. As a context: checks that the work ended soon after it."""

    def __init__(self, seconds: float = 0.2) -> None:
        self._at = monotonic() + seconds
        self.threads: set[int] = set()

    def __call__(self) -> None:
        self.threads.add(threading.get_ident())
        if monotonic() >= self._at:
            raise OwnStopError

    def __enter__(self) -> StopSoon:
        return self

    def __exit__(self, *_: object) -> None:
        assert 0 <= monotonic() - self._at < END_S
