"""The wish that the run stops, for all that works in this process. No Beam, which a download needs not."""

from __future__ import annotations

import threading

STOP = threading.Event()
"""Set while a run is to stop."""


class StopRequestedError(Exception):
    """The run was asked to stop; raised between two blocks, so that no thread outlives the program."""


def check_stop() -> None:
    """Raises `StopRequestedError` once a stop was requested."""
    if STOP.is_set():
        raise StopRequestedError("the run was asked to stop")
