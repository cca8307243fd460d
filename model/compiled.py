"""Jitted functions that several threads may call, each compiled once per shape of its arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax

from model.program_store import Program, ProgramStore


class Compiled:
    """A function under `jax.jit` that is compiled once for each shape of its arguments.

    With `jax.jit` alone, each thread traces and compiles a function that no thread has compiled yet.

    Args:
        function: the function to compile.
        name: name of the function in the store.
        store: keeps compiled programs between runs; None if JAX's own cache does.
        static: index of the argument, if any, that is a compile-time constant.
        options: options of `jax.jit`.
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
        """Calls the function; arguments are arrays, pytrees of arrays and the static number."""
        shapes = tuple(getattr(leaf, "shape", leaf) for leaf in jax.tree.leaves(args))
        program = self._programs.get(shapes)
        if program is not None:
            return program(*args)
        started = perf_counter()
        with self._lock:
            program = self._programs.get(shapes) or self._load_or_compile(args)
            result = program(*args)  # returns before the program has run
            self._programs[shapes] = program
        _wait.seconds = compile_wait_s() + perf_counter() - started
        return result

    def _load_or_compile(self, args: tuple[Any, ...]) -> Program:
        """Returns the program for arguments of these shapes: from the store, or compiled now."""
        store = self._store
        if store is None:
            return self._jitted
        program = store.load(self._name, args)
        if program is None:
            program = executable = self._jitted.lower(*args).compile()
            store.save(self._name, args, executable)
        if self._static is None:
            return program
        return _drop_argument(self._static, program)


def _drop_argument(index: int, program: Program) -> Program:
    """Drops the static argument, which a compiled program does not take."""
    return lambda *args: program(*args[:index], *args[index + 1 :])


def small_buffers() -> dict[str, str] | None:
    """Returns options of `jax.jit` for programs whose intermediate results are large; None off the CPU.

    By default XLA:CPU orders operations for concurrency: the products of all layers come first, and their
    results are all kept. Buffers above 32 MB are returned to the system after each call by glibc, and to get
    them zeroed at the next took half the time of the cross-attention's keys and values.
    """
    if jax.default_backend() != "cpu":
        return None
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


_wait = threading.local()


def compile_wait_s() -> float:
    """Returns the seconds that the calling thread has waited so far for programs to be compiled or loaded."""
    seconds: float = getattr(_wait, "seconds", 0.0)
    return seconds
