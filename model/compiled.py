"""Programs that several threads may ask for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax


class Compiled:
    """A function under `jax.jit` that is compiled once for each shape of its arguments.

    `jax.jit` itself has each thread trace and compile what none has finished yet.

    Args:
        function: to compile.
        options: of `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        self._jitted = jax.jit(function, **options)
        self._lock = threading.Lock()
        self._met: set[Any] = set()

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401
        """Runs it; the arguments that decide its shape are arrays, trees of arrays and static numbers."""
        shapes = tuple(getattr(leaf, "shape", leaf) for leaf in jax.tree.leaves(args))
        if shapes in self._met:
            return self._jitted(*args)
        started = perf_counter()
        with self._lock:
            result = self._jitted(*args)  # comes back before the program has run
            self._met.add(shapes)
        _waited.seconds = waited_s() + perf_counter() - started
        return result


_waited = threading.local()


def waited_s() -> float:
    """Seconds that the thread which asks has waited so far for programs to be compiled, or to be loaded."""
    seconds: float = getattr(_waited, "seconds", 0.0)
    return seconds
