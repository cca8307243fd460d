"""Executors without threads, so that nothing depends on time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future


class InlineExecutor(Executor):
    """Makes each call when it is submitted."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        future: Future[object] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # as executors do
            future.set_exception(error)
        return future


class HeldExecutor(Executor):
    """Makes no call until it is told to; then those that were submitted first are made first."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[object], Callable[[], object]]] = []

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        future: Future[object] = Future()
        self.calls.append((future, lambda: fn(*args, **kwargs)))
        return future

    def make(self, n: int) -> None:
        for future, call in self.calls[:n]:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
        del self.calls[:n]
