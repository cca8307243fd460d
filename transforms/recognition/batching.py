"""Calls of the model side by side, while the next windows are read: no core waits for another.

A thread reads; others, the lanes, each have the model work on a batch. On a CPU a single call does not keep
all cores busy, and elsewhere the host prepares a batch while the device works on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_S = 0.2  # how long an interrupt may go unheard


class Lanes(Generic[Item, Result]):
    """Makes batches of what waits, runs them, and gives what comes out.

    What is added again, as it must be looked at once more, waits until it fills a batch, or at the end until
    a lane has nothing else to do: what is new is held up by none of it.

    It belongs to one thread, and to one bundle of work.

    Args:
        executor: runs the calls; lanes of several owners may share it.
        n_lanes: calls that may run at the same time. One more is prepared.
        batch_size: the most items of a call.
        call: what is done with a batch.
        check: is called before anything is started, and now and then while nothing happens; may raise.
    """

    def __init__(
        self,
        executor: Executor,
        n_lanes: int,
        batch_size: int,
        call: Callable[[Sequence[Item]], Result],
        check: Callable[[], None],
    ) -> None:
        self._executor = executor
        self._n_lanes = n_lanes
        self._batch_size = batch_size
        self._call = call
        self._check = check
        self._new: list[Item] = []
        self._again: list[tuple[int, Item]] = []
        self._running: dict[Future[Result], Sequence[Item]] = {}
        self._begun = False
        self._n_shares = 0  # lanes that have had theirs of what is left at the end

    def add(self, item: Item) -> None:
        """Takes in what was not looked at yet."""
        self._new.append(item)

    def add_again(self, item: Item, urgency: int) -> None:
        """Takes in what is to be looked at once more; the most urgent are taken first."""
        self._again.append((urgency, item))

    def results(self, *, end: bool) -> Iterator[tuple[Sequence[Item], Result]]:
        """Starts what can be started, and gives each batch that is done, with what came out of it.

        Before the end it waits only when there is enough of everything: all lanes are busy, and a batch is
        ready for each. At the end it waits for all. More may be added while it runs.

        When it is closed before it has ended, or ends with an exception (of a call, or of `check`), the work
        is given up as a whole: see `clear`.
        """
        try:
            while True:
                self._check()
                self._start(end=end)
                done = [future for future in self._running if future.done()]
                for future in done:
                    yield self._running.pop(future), future.result()
                if done:
                    continue
                if not self._running or not (end or self._is_full()):
                    return
                wait(self._running, _PATIENCE_S, FIRST_COMPLETED)
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Forgets what waits; what runs already goes on unheard."""
        for future in self._running:
            future.cancel()
        self._new, self._again, self._running = [], [], {}
        self._begun, self._n_shares = False, 0

    def _is_full(self) -> bool:
        return len(self._running) > self._n_lanes and len(self._new) >= self._n_lanes * self._batch_size

    def _start(self, *, end: bool) -> None:
        while len(self._running) <= self._n_lanes and (batch := self._next_batch(end=end)):
            self._begun = True
            self._running[self._executor.submit(self._call, batch)] = batch

    def _next_batch(self, *, end: bool) -> Sequence[Item]:
        size, n_idle = self._batch_size, self._n_lanes - len(self._running)
        if end and not self._new and n_idle > 0:
            self._new = self._take_again(len(self._again))  # nothing else comes for these lanes
        if len(self._again) >= size:
            return self._take_again(size)
        if not end:
            # The first batches start together: were there no more, they would be divided among the lanes.
            enough = size if self._begun else size * self._n_lanes
            return self._take_new(size) if len(self._new) >= enough else ()
        if not self._new or (n_idle <= 0 and len(self._new) <= size * self._n_lanes):
            return ()  # it is divided among the lanes as they become free, with what comes until then
        return self._take_new(min(size, self._share()))

    def _share(self) -> int:
        """How many of the last items a lane gets: all lanes are to end together, however long each works."""
        n_left = self._n_lanes - self._n_shares
        self._n_shares = (self._n_shares + 1) % self._n_lanes
        return -(-len(self._new) // n_left)

    def _take_new(self, n: int) -> list[Item]:
        batch, self._new = self._new[:n], self._new[n:]
        return batch

    def _take_again(self, n: int) -> list[Item]:
        self._again.sort(key=lambda waiting: waiting[0], reverse=True)
        batch, self._again = self._again[:n], self._again[n:]
        return [item for _, item in batch]
