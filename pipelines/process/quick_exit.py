"""The end of a program that leaves nothing to wait for."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn

_BROKEN_OUTPUT = 120  # Python's own exit code where the last of the output cannot be written


def exit_quickly(exit_code: int) -> NoReturn:
    """Ends the process: runs exit handlers, flushes the output, and leaves the rest to the system.

    Python would wait for threads, such as one that loads a model that is not needed after all, and take apart
    a million objects of JAX and Beam.
    """
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        exit_code = _BROKEN_OUTPUT
    os._exit(exit_code)
