"""Batches of windows for concurrent calls of the model, while the caller reads the next windows.

A caller's thread reads; threads of an executor each call the model on a batch. On a CPU a single call does
not keep all cores busy, and elsewhere the host prepares a batch while the device works on another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.2  # how long a request to stop may go unnoticed


class BatchScheduler(Generic[Item, Result]):
    """Groups items into batches, runs these concurrently, and returns each item with its result.

    New items (priority 0) never wait for requeued ones: those wait until they fill a batch of their own, or,
    once no more new items come, until the executor has nothing else to do.

    It belongs to one thread.

    Args:
        executor: runs the calls; schedulers of several callers may share it.
        max_concurrent_calls: batches that run at the same time. One more is prepared.
        batch_size: maximum number of items in a batch.
        call: returns the results of a batch, in its order.
        check: called before a batch is started, and repeatedly while it waits; may raise.
        observe: called on the caller's thread with the size of each finished batch and its seconds.
    """

    def __init__(
        self,
        executor: Executor,
        max_concurrent_calls: int,
        batch_size: int,
        call: Callable[[Sequence[Item]], Sequence[Result]],
        check: Callable[[], None],
        observe: Callable[[int, float], None] = lambda n_items, seconds: None,
    ) -> None:
        self._executor = executor
        self._max_calls = max_concurrent_calls
        self._batch_size = batch_size
        self._call = partial(_timed_call, call)
        self._check = check
        self._observe = observe
        self._new: list[Item] = []
        self._requeued: list[tuple[int, Item]] = []
        self._running: dict[Future[tuple[Sequence[Result], float]], Sequence[Item]] = {}
        self._has_started = False
        self._n_shares = 0  # concurrent calls that got their share of the last items

    def submit(self, item: Item, priority: int = 0) -> None:
        """Adds an item: a new one with priority 0, or a requeued one, where higher priorities come first."""
        if priority:
            self._requeued.append((priority, item))
        else:
            self._new.append(item)

    def completed(self, *, wait: bool) -> list[tuple[Item, Result]]:
        """Starts the batches that can be started, and returns the items of those that have finished.

        Args:
            wait: whether to start incomplete batches too, as no new items come for now, and to block until a
                batch has finished. Otherwise it blocks only while there is enough work: all calls are busy,
                and a full batch is ready for each.

        Returns:
            An empty list if no batch is running, or, without `wait`, if there is room for more items.

        Raises:
            Exception: raised by `call` or `check`; then all items are dropped (`cancel`).
        """
        try:
            while True:
                self._check()
                self._start(flush=wait)
                done = [future for future in self._running if future.done()]
                if done:
                    return [pair for future in done for pair in self._pop(future)]
                if not self._running or not (wait or self._is_full()):
                    return []
                _wait(self._running)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Drops all items; calls that are running finish, and their results are dropped."""
        for future in self._running:
            future.cancel()
        self._new, self._requeued, self._running = [], [], {}
        self._has_started, self._n_shares = False, 0

    def _pop(self, future: Future[tuple[Sequence[Result], float]]) -> list[tuple[Item, Result]]:
        items = self._running.pop(future)
        results, seconds = future.result()
        self._observe(len(items), seconds)
        return list(zip(items, results, strict=True))

    def _is_full(self) -> bool:
        return len(self._running) > self._max_calls and len(self._new) >= self._max_calls * self._batch_size

    def _start(self, *, flush: bool) -> None:
        while len(self._running) <= self._max_calls and (batch := self._next_batch(flush=flush)):
            self._has_started = True
            self._running[self._executor.submit(self._call, batch)] = batch

    def _next_batch(self, *, flush: bool) -> Sequence[Item]:
        size, n_idle = self._batch_size, self._max_calls - len(self._running)
        if flush and not self._new and n_idle > 0:
            self._new = self._take_requeued(len(self._requeued))  # nothing else comes for the idle calls
        if len(self._requeued) >= size:
            return self._take_requeued(size)
        if not flush:
            # The first batches start together: if no more items come, they are shared among the calls.
            enough = size if self._has_started else size * self._max_calls
            return self._take_new(size) if len(self._new) >= enough else ()
        if not self._new or (n_idle <= 0 and len(self._new) <= size * self._max_calls):
            return ()  # the last items are shared among the calls as they become free
        return self._take_new(min(size, self._share()))

    def _share(self) -> int:
        """Returns how many of the last items a call gets, so that all calls finish at about the same time."""
        n_left = self._max_calls - self._n_shares
        self._n_shares = (self._n_shares + 1) % self._max_calls
        return -(-len(self._new) // n_left)

    def _take_new(self, n: int) -> list[Item]:
        batch, self._new = self._new[:n], self._new[n:]
        return batch

    def _take_requeued(self, n: int) -> list[Item]:
        self._requeued.sort(key=lambda waiting: waiting[0], reverse=True)
        batch, self._requeued = self._requeued[:n], self._requeued[n:]
        return [item for _, item in batch]


def _timed_call(
    call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> tuple[Sequence[Result], float]:
    started = perf_counter()
    return call(items), perf_counter() - started


def _wait(futures: dict[Future[tuple[Sequence[Result], float]], Sequence[Item]]) -> None:
    wait(futures, _POLL_S, FIRST_COMPLETED)
