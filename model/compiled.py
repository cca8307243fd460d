"""Programs that several threads may ask for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax

from model.program_store import Program, ProgramStore


class Compiled:
    """A function under `jax.jit` that is compiled once for each shape of its arguments.

    `jax.jit` itself has each thread trace and compile what none has finished yet.

    Args:
        function: to compile.
        name: tells it from the other programs of the store.
        store: where it is kept between runs; None where JAX sees to that.
        static: which argument, if any, is a number that is compiled in.
        options: of `jax.jit`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        store: ProgramStore | None,
        *,
        static: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self._jitted = jax.jit(function, static_argnums=static, **options)
        self._name = name
        self._store = store
        self._static = static
        self._lock = threading.Lock()
        self._programs: dict[Any, Program] = {}

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401
        """Runs it; the arguments that decide its shape are arrays, trees of arrays and static numbers."""
        shapes = tuple(getattr(leaf, "shape", leaf) for leaf in jax.tree.leaves(args))
        program = self._programs.get(shapes)
        if program is not None:
            return program(*args)
        started = perf_counter()
        with self._lock:
            program = self._programs.get(shapes) or self._made(args)
            result = program(*args)  # comes back before the program has run
            self._programs[shapes] = program
        _waited.seconds = waited_s() + perf_counter() - started
        return result

    def _made(self, args: tuple[Any, ...]) -> Program:
        """The program for arguments like these: that of the store, or one that is compiled now."""
        store = self._store
        if store is None:
            return self._jitted
        program = store.load(self._name, args)
        if program is None:
            program = executable = self._jitted.lower(*args).compile()
            store.keep(self._name, args, executable)
        if self._static is None:
            return program
        return _without(self._static, program)


def _without(place: int, program: Program) -> Program:
    """The program as it is called: what is compiled in is no argument any more."""
    return lambda *args: program(*args[:place], *args[place + 1 :])


_waited = threading.local()


def waited_s() -> float:
    """Seconds that the thread which asks has waited so far for programs to be compiled, or to be loaded."""
    seconds: float = getattr(_waited, "seconds", 0.0)
    return seconds
