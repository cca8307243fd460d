"""Python's cyclic garbage collector, kept away from what lives as long as the program."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """For imports, and for loading a model.

    They make a million objects that stay. The collector would go over them again and again, and once more
    when Python ends: a second of a run's start and end.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
