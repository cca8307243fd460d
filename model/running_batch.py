"""Windows that are decoded together, each in a row of its own; a row that is free takes the next window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby, islice, permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.compiled import compile_wait_s
from model.interface import Request, Segment, WindowResult
from model.method_programs import Batch, BatchKind, EncodedWindow
from model.programs import Programs
from model.row_inputs import RowInputs
from model.rows import RowInput, Written
from model.window_results import WindowResults

_MAX_STEPS = 1_000_000  # more than any window takes

Item = TypeVar("Item")
Answer = WindowResult | Exception


class RunningBatch:
    """A `model.interface.WindowBatch`.

    Args:
        programs: the programs of the model.
        kind: the kind of its windows.
        n_rows: windows that are decoded together.
        n_encoded: windows that are encoded together; others of that number are padding.
        inputs: makes the inputs of rows.
        results: makes the results of rows.
        count_compile_s: called with the seconds that calls have waited for programs.
    """

    def __init__(
        self,
        programs: Programs,
        kind: BatchKind,
        n_rows: int,
        n_encoded: int,
        inputs: RowInputs,
        results: WindowResults,
        count_compile_s: Callable[[float], None],
    ) -> None:
        self._programs, self._kind, self._n_encoded = programs, kind, n_encoded
        self._inputs, self._results = inputs, results
        self._count_compile_s = count_compile_s
        self._rows: list[Request | None] = [None] * n_rows
        self._batch: Batch | None = None

    @property
    def n_free(self) -> int:
        """The number of rows that can take a window."""
        return self._rows.count(None)

    @property
    def n_refilled(self) -> int:
        """The number of windows that are encoded together."""
        return self._n_encoded

    @property
    def requests(self) -> list[Request]:
        """The requests that are being decoded."""
        return [request for request in self._rows if request is not None]

    def add(self, requests: Sequence[Request]) -> None:
        """Encodes windows, and gives each a row; see `model.interface.WindowBatch`."""
        if len(requests) > self.n_free:
            raise ValueError(f"{len(requests)} windows were given for {self.n_free} free rows")
        pairs = [(request, self._inputs.row(request, self._kind)) for request in requests]
        waited_s = compile_wait_s()
        by_length = sorted(pairs, key=lambda pair: self._inputs.encoded_length(pair[0]))
        for length, group in groupby(by_length, key=lambda pair: self._inputs.encoded_length(pair[0])):
            for part in _parts(group, self._n_encoded):
                self._add(part, length)
        self._count_compile_s(compile_wait_s() - waited_s)

    def _add(self, pairs: Sequence[tuple[Request, RowInput]], length: int) -> None:
        encoded = self._programs.cross_kv(self._padded([request.samples for request, _ in pairs], length))
        if self._batch is None:
            self._batch = self._programs.empty(self._kind, len(self._rows), encoded)
        for index, (request, given) in enumerate(pairs):
            row = self._rows.index(None)
            window = EncodedWindow(encoded, index)
            self._batch = self._programs.insert(self._kind, self._batch, window, row, given)
            self._rows[row] = request

    def advance(
        self, *, n_free: int | None = None, max_steps: int | None = None
    ) -> list[tuple[Request, Answer]]:
        """Writes tokens, and returns the windows that have finished; see `model.interface.WindowBatch`."""
        if self._batch is None or not self.requests:
            return []
        waited_s = compile_wait_s()
        max_active = 0 if n_free is None else max(0, len(self._rows) - n_free)
        self._batch, written = self._programs.advance(
            self._kind, self._batch, max_active=max_active, max_steps=max_steps or _MAX_STEPS
        )
        finished = [
            (row, request)
            for row, request in enumerate(self._rows)
            if request is not None and not written.is_active[row]
        ]
        answers = [(request, self._answer(written, row, request)) for row, request in finished]
        for row, _ in finished:
            self._rows[row] = None
        self._count_compile_s(compile_wait_s() - waited_s)
        return answers

    def warm_up(self, request: Request, tokens: Sequence[int]) -> None:
        """Compiles all programs of the batch, or loads them: each is tried on a window with these tokens."""
        sizes = self._programs.room_sizes(self._kind)
        for size in sizes:
            if self._batch is not None:  # it begins with the first
                self._batch = self._programs.with_room(self._kind, self._batch, size)
            self.add([request])
            self.advance(max_steps=1)
        for size in chain(*permutations(sizes, 2)):
            if self._batch is not None:
                self._batch = self._programs.with_room(self._kind, self._batch, size)
        row = self._rows.index(request)
        segment = Segment(0, len(request.samples), "", tuple(tokens))
        result = WindowResult((segment,), request.language or "en")
        aligned = self._results.to_align(result, replace(request, word_timestamps=True))
        if aligned is not None and self._batch is not None:
            self._programs.align(self._batch, row, aligned)

    def _answer(self, written: Written, row: int, request: Request) -> Answer:
        """Returns the result of a row, or why it has none."""
        try:
            result = self._results.result(written, row, request)
        except ValueError as error:
            return error
        tokens = self._results.to_align(result, request)
        if tokens is None or self._batch is None:
            return result
        alignment = self._programs.align(self._batch, row, tokens)
        return self._results.with_words(result, request, tokens, alignment)

    def _padded(self, windows: Sequence[NDArray[np.float32]], length: int) -> NDArray[np.float32]:
        """Returns windows as float32[n_encoded, length], padded with silence."""
        padded = np.zeros((self._n_encoded, length), np.float32)
        for row, window in enumerate(windows):
            padded[row, : len(window)] = window
        return padded


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields the items in lists of that size; the last one may be shorter."""
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part
