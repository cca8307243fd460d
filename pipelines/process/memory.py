"""Memory of the process: malloc arenas, free memory, and Python's garbage collector."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_M_ARENA_MAX = -8  # from glibc's malloc.h
_ARENAS = 2

RETURN_MEMORY_S = 30.0
"""It takes some 0.1 s, and the next batch takes as much longer."""


def limit_malloc_arenas() -> None:
    """Limits glibc to two malloc arenas, so that threads share freed memory.

    By default glibc gives each thread an arena, and memory freed in one is not reused by the others. With two
    arenas, a run of whisper-base takes an eighth less memory and the same time. The limit applies to threads
    started later. `MALLOC_ARENA_MAX` in the environment takes precedence.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Returns memory that was freed within glibc's arenas to the system; other threads may wait for it."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def keep_returning_free_memory(interval_s: float = RETURN_MEMORY_S) -> threading.Event:
    """Starts a thread that returns free memory now and then, for a process that serves and does nothing else.

    Buffers of several batches at a time leave holes between what is in use: whisper-base has 250 MB of them
    after a hundred short recordings, and grows for a thousand.

    Returns:
        The event that ends the thread; it keeps no process from its end.
    """
    return _returning_thread(interval_s)[1]


@contextmanager
def returning_free_memory(interval_s: float = RETURN_MEMORY_S) -> Iterator[None]:
    """Returns free memory now and then during a block: to load programs alone leaves 130 MB of it."""
    thread, ended = _returning_thread(interval_s)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _returning_thread(interval_s: float) -> tuple[threading.Thread, threading.Event]:
    """Starts a thread that returns free memory until the event is set."""
    ended = threading.Event()

    def keep_returning() -> None:
        while not ended.wait(interval_s):
            return_free_memory()

    thread = threading.Thread(target=keep_returning, name="return-memory", daemon=True)
    thread.start()
    return thread, ended


_BLOCKS = threading.Lock()
_open_blocks: list[bool] = []  # blocks of `without_garbage_collection`: whether it was on before each


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Turns garbage collection off for a block of imports or for loading a model, and freezes its objects.

    Such a block creates a million objects that live as long as the process. The collector would traverse them
    again and again, and once more at exit: a second of a run's start and end. Blocks of several threads may
    overlap: it is on again after the last one.
    """
    with _BLOCKS:
        _open_blocks.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _BLOCKS:
            gc.freeze()
            was_enabled = _open_blocks.pop()
            if was_enabled and not _open_blocks:
                gc.enable()
