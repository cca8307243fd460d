"""Windows that take a given number of turns, and clients of a `BatchScheduler` for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from concurrent.futures import Executor

import numpy as np

from model.interface import Request, Segment, WindowResult
from tests.support.executors import DeferredExecutor
from transforms.recognition.batching import BatchClient, BatchScheduler

TIMEOUT_S = 30.0  # events that are waited for come at once, or never
Turn = tuple[int, ...]


class StopError(Exception):
    """A stop was requested."""


def request(number: int, n_turns: int = 1, group: str = "") -> Request:
    """A window that takes so many turns of a lane."""
    return Request(np.array([number, n_turns], np.float32), prompt=group)


def number_of(request: Request) -> int:
    return round(float(request.samples[0]))


class StepBatch:
    """A batch in which each window takes its number of turns; see `StepTranscriber`."""

    def __init__(self, model: StepTranscriber, group: Hashable, n_rows: int) -> None:
        self._model, self._group, self._n_rows = model, group, n_rows
        self._left: list[tuple[Request, int]] = []  # each window, and the turns that it still takes

    @property
    def n_free(self) -> int:
        return self._n_rows - len(self._left)

    @property
    def n_refilled(self) -> int:
        return self._model.n_refilled

    @property
    def requests(self) -> list[Request]:
        return [one for one, _ in self._left]

    def add(self, requests: Sequence[Request]) -> None:
        assert 1 <= len(requests) <= self.n_free
        assert {self._model.batch_group(one) for one in requests} == {self._group}
        if self._n_rows > self._model.max_rows:
            raise MemoryError("no memory is left")
        self._left += [(one, max(1, round(float(one.samples[1])))) for one in requests]

    def advance(
        self, *, n_free: int | None = None, max_steps: int | None = None
    ) -> list[tuple[Request, WindowResult | Exception]]:
        numbers = tuple(map(number_of, self.requests))
        self._model.note(numbers, n_free)
        self._left = [(one, 0 if max_steps is None else n - 1) for one, n in self._left]
        ended = [one for one, n in self._left if not n]
        if any(number_of(one) in self._model.failing for one in ended):
            raise self._model.error
        self._left = [(one, n) for one, n in self._left if n]
        return [(one, self._model.answer(one)) for one in ended if number_of(one) not in self._model.dropped]


class StepTranscriber:
    """A model whose calls are written down.

    Attributes:
        failing: windows with which a call raises `error`, in their last turn.
        refused: windows that are answered with a ValueError; number 0 is silence.
        dropped: windows that are never answered.
        max_rows: batches of more rows run out of memory.
        turns: the windows of each call, in order.
        given: `n_free` of each call.
        made: rows of each batch.
        on_turn: called in each call, with its windows.
    """

    compile_s = 0.0
    arithmetic = ""

    def __init__(self, batch_size: int = 4, n_lanes: int = 1) -> None:
        self.batch_size, self.max_concurrent_calls = batch_size, n_lanes
        self.failing: Collection[int] = ()
        self.refused: Collection[int] = ()
        self.dropped: Collection[int] = ()
        self.error: Exception = ValueError("poisoned")
        self.max_rows, self.n_refilled = 1000, 1
        self.turns: list[Turn] = []
        self.given: list[int | None] = []
        self.made: list[int] = []
        self.on_turn: Callable[[Turn], object] = lambda turn: None
        self._lock = threading.Lock()

    def batch_group(self, request: Request) -> Hashable:
        return request.prompt or None  # of most windows, as of any model that has no groups

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> StepBatch:
        self.made.append(n_rows or self.batch_size)
        return StepBatch(self, group, n_rows or self.batch_size)

    def token_ids(self, text: str) -> list[int]:
        return list(text.encode())

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        pass

    def note(self, turn: Turn, n_free: int | None) -> None:
        with self._lock:
            self.turns.append(turn)
            self.given.append(n_free)
        self.on_turn(turn)

    def answer(self, one: Request) -> WindowResult | Exception:
        number = number_of(one)
        if number in self.refused:
            return ValueError(f"{number} is refused")
        return WindowResult((Segment(0, 1, str(number)),), "en")


def answered(pairs: Iterable[tuple[Request, WindowResult | Exception]]) -> list[int]:
    """The windows that were answered, in order; each has its own text."""
    numbers = []
    for one, result in pairs:
        assert isinstance(result, WindowResult)
        assert result.segments[0].text == str(number_of(one))
        numbers.append(number_of(one))
    return numbers


def all_answered(client: BatchClient) -> list[int]:
    """The windows that are answered until none is left."""
    numbers: list[int] = []
    while pairs := client.completed(wait=True):
        numbers += answered(pairs)
    return numbers


def submit(client: BatchClient, *numbers: int, n_turns: int = 1, group: str = "") -> None:
    for number in numbers:
        client.submit(request(number, n_turns, group))


def make_client(
    executor: Executor, model: StepTranscriber, check: Callable[[], None] = lambda: None
) -> BatchClient:
    """The only client of a scheduler."""
    return BatchScheduler(executor, model, check).client()


def shared_clients(
    executor: DeferredExecutor, model: StepTranscriber, n: int, *, reserve_s: float = 0.0
) -> list[BatchClient]:
    """Clients of one scheduler; lanes run while a client waits."""
    scheduler = BatchScheduler(executor, model, reserve_s=reserve_s)
    return [scheduler.client(check=lambda: run_all(executor)) for _ in range(n)]


def run_all(executor: DeferredExecutor) -> None:
    """Runs the lanes that were started, until none has windows."""
    executor.run_first(len(executor.calls))
