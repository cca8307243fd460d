"""Cancellation of the run in this process; free of Beam, because downloads check it, too."""

from __future__ import annotations

import threading
from collections.abc import Callable

STOP = threading.Event()
"""Set once the run is to stop."""

CHECK_S = 0.2
"""Seconds between two checks for cancellation in a wait."""

Check = Callable[[], None]
"""Called between two steps of work; raises `StopRequestedError` once the work is cancelled."""


class StopRequestedError(Exception):
    """Raised between two blocks of work after a stop request, so that no thread outlives the program."""


def check_stop() -> None:
    """Raises `StopRequestedError` once a stop was requested."""
    if STOP.is_set():
        raise StopRequestedError("the run was asked to stop")
