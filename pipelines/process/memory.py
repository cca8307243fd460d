"""How the C library keeps the memory that was freed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2


def use_few_arenas() -> None:
    """Lets threads share memory that was freed: glibc gives each an arena, which keeps it to itself.

    With two for all, a run of whisper-base takes an eighth less memory, and no longer. It holds for threads
    that begin later. `MALLOC_ARENA_MAX` in the environment goes first.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
