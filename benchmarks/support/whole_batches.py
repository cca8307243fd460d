"""Batches of transcribers without a model, which decode all their windows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model.interface import Request, WindowResult


class WholeBatch:
    """A `model.interface.WindowBatch` whose windows are finished by the next `advance`, in one call.

    Args:
        transcribe: decodes requests, and returns the result of each.
        n_rows: the number of rows.
    """

    n_refilled = 1

    def __init__(self, transcribe: Callable[[Sequence[Request]], list[WindowResult]], n_rows: int) -> None:
        self._transcribe, self._n_rows = transcribe, n_rows
        self.requests: list[Request] = []

    @property
    def n_free(self) -> int:
        """The number of rows that can take a window."""
        return self._n_rows - len(self.requests)

    def add(self, requests: Sequence[Request]) -> None:
        """Gives each request a row; see `model.interface.WindowBatch`."""
        if len(requests) > self.n_free:
            raise ValueError(f"{len(requests)} windows were given for {self.n_free} free rows")
        self.requests.extend(requests)

    def advance(
        self, *, n_free: int | None = None, max_steps: int | None = None
    ) -> list[tuple[Request, WindowResult | Exception]]:
        """Decodes all windows; an exception is that of all of them, which keep their rows.

        Raises:
            ValueError: `transcribe` returned another number of results.
        """
        if not self.requests:
            return []
        results = self._transcribe(list(self.requests))
        answers: list[tuple[Request, WindowResult | Exception]]
        answers = list(zip(self.requests, results, strict=True))
        self.requests = []
        return answers
