"""Executors without threads, so that tests do not depend on timing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future


class InlineExecutor(Executor):
    """Runs each call when it is submitted."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        future: Future[object] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # as executors do
            future.set_exception(error)
        return future


class DeferredExecutor(Executor):
    """Runs calls only when `run_first` is called, in the order in which they were submitted."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[object], Callable[[], object]]] = []

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        future: Future[object] = Future()
        self.calls.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run_first(self, n: int) -> None:
        """Runs the first `n` pending calls."""
        first, self.calls = self.calls[:n], self.calls[n:]
        for future, call in first:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
