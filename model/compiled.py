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

    Attributes:
        seconds: spent so far on tracing and compiling it, or on loading what was compiled before.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        self._jitted = jax.jit(function, **options)
        self._lock = threading.Lock()
        self._met: set[Any] = set()
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401
        """Runs it; the arguments that decide its shape are arrays, trees of arrays and static numbers."""
        shapes = tuple(getattr(leaf, "shape", leaf) for leaf in jax.tree.leaves(args))
        if shapes in self._met:
            return self._jitted(*args)
        with self._lock:
            started = perf_counter()
            result = self._jitted(*args)  # comes back before the program has run
            if shapes not in self._met:
                self._met.add(shapes)
                self.seconds += perf_counter() - started
        return result
