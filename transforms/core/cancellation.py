"""Cancellation of the run in this process; free of Beam, because downloads check it, too."""

from __future__ import annotations

import threading

STOP = threading.Event()
"""Set once the run is to stop."""


class StopRequestedError(Exception):
    """Raised between two blocks of work after a stop request, so that no thread outlives the program."""


def check_stop() -> None:
    """Raises `StopRequestedError` once a stop was requested."""
    if STOP.is_set():
        raise StopRequestedError("the run was asked to stop")
