"""The end of requests that still wait when their server stops: 503, instead of a lost connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.server.errors import ApiError, unavailable
from pipelines.server.limits import DRAINING_RETRY_S


def stopping() -> ApiError:
    """Returns the 503 for a request that a server does not finish, because it stops."""
    return unavailable("The server is stopping.", "shutting_down", DRAINING_RETRY_S)


class Stop:
    """Ends waits of requests. All of it is called on the event loop."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Task[object]] = set()

    def set(self) -> None:
        """Ends all waits, and those that begin later."""
        self._is_set = True
        for task in self._waiting:
            task.cancel()

    @contextmanager
    def ends_wait(self) -> Iterator[None]:
        """Ends the block, in which the current task waits, once the server is stopped.

        Raises:
            ApiError: 503.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._is_set:
            raise stopping()
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_set or task.uncancel():  # also cancelled by another, as by its client's leaving
                raise
            raise stopping() from None
        finally:
            self._waiting.discard(task)
