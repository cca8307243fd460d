"""Batches of the items of any clients, for concurrent calls of the model.

Clients are bundles of a pipeline, recordings of the Python API, or requests of a server, each in a thread of
its own that reads while threads of an executor call the model. On a CPU a single call does not keep all cores
busy, and elsewhere the host prepares a batch while the device works on another.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.2  # how long a request to stop may go unnoticed
MAX_HOLD_S = 0.1
_MAX_HOLD = 0.1  # of the seconds of the last batch


def _no_check() -> None:
    """Never stops."""


def _not_observed(n_items: int, seconds: float) -> None:
    """Counts nothing."""


@dataclass(eq=False)
class _Queued(Generic[Item, Result]):
    """A submitted item."""

    item: Item
    priority: int
    group: Hashable
    client: BatchClient[Item, Result]


@dataclass(eq=False)
class _Batch(Generic[Item, Result]):
    """Items of one call; `is_short` is that of the clients it was made for."""

    queued: list[_Queued[Item, Result]]
    is_short: bool


class BatchScheduler(Generic[Item, Result]):
    """Groups items of several clients into batches, and runs these concurrently. For use by any threads.

    A call that becomes free takes items of the clients in turns, so that none waits for all items of another.
    A batch is started once it is full. An incomplete one is started only where a client waits for it.

    Requeued items (priority above 0) of a client wait until they fill a batch of their own, or until the
    client waits and has no new items left.

    Clients that were just answered often come back at once with their next item. So an incomplete batch of
    short clients is held until as many clients wait as the last batch answered, for `MAX_HOLD_S` at most.

    Clients that have submitted no more items than fit into a batch are short. While short and other clients
    have items, both have calls; for `reserve_s` seconds after a short client that waited for its last items,
    the others leave one call free for the next.

    Args:
        executor: runs the calls, in at least `max_concurrent_calls` threads.
        max_concurrent_calls: batches that run at the same time.
        batch_size: maximum number of items in a batch.
        call: returns the results of a batch, in its order.
        group_of: items of different groups never share a batch.
        reserve_s: see above. Without effect if `max_concurrent_calls` is 1.
    """

    def __init__(
        self,
        executor: Executor,
        max_concurrent_calls: int,
        batch_size: int,
        call: Callable[[Sequence[Item]], Sequence[Result]],
        group_of: Callable[[Item], Hashable] = lambda item: None,
        reserve_s: float = 0.0,
    ) -> None:
        self._executor, self._call, self._group_of = executor, call, group_of
        self._max_calls, self._batch_size, self._reserve_s = max_concurrent_calls, batch_size, reserve_s
        self._lock = threading.Lock()
        self._turns: list[BatchClient[Item, Result]] = []  # clients with queued items, the next one first
        self._running: list[_Batch[Item, Result]] = []
        self._has_started = False
        self._was_short = False
        self._short_at = -float("inf")  # time of the last batch of short clients
        self._n_answered, self._held_until = 0, 0.0  # clients that may come back, and until when

    def client(
        self,
        check: Callable[[], None] = _no_check,
        observe: Callable[[int, float], None] = _not_observed,
        max_items: int | None = None,
    ) -> BatchClient[Item, Result]:
        """Returns a new client, which belongs to one thread.

        Args:
            check: called before batches are started, and repeatedly while the client waits; may raise.
            observe: called on the client's thread with the size of each finished batch and its seconds; for a
                batch of several clients, on the thread of the first of them.
            max_items: maximum number of the client's items in a batch; None for a whole batch.
        """
        return BatchClient(self, check, observe, max_items or self._batch_size)

    def _dispatch(self) -> None:
        """Starts the batches that can be started."""
        while True:
            with self._lock:
                batch = self._next_batch()
                if batch is None:
                    return
                self._running.append(batch)
            try:
                self._executor.submit(self._run, batch)
            except BaseException:  # the executor was shut down
                with self._lock:
                    self._running.remove(batch)
                raise

    def _run(self, batch: _Batch[Item, Result]) -> None:
        """Calls the model on a batch, and hands its results to the clients."""
        items, started = [one.item for one in batch.queued], perf_counter()
        pairs: list[tuple[_Queued[Item, Result], Result]] = []
        try:
            if any(one in one.client._running for one in batch.queued):  # else all were cancelled
                pairs = list(zip(batch.queued, self._call(items), strict=True))
        except BaseException as error:  # raised where the clients wait
            with self._lock:
                for one in batch.queued:
                    one.client._fail(one, error)
                self._running.remove(batch)
        else:
            with self._lock:
                wanted = [pair for pair in pairs if pair[0] in pair[0].client._running]
                if wanted:
                    seconds = perf_counter() - started
                    wanted[0][0].client._observed.append((len(items), seconds))
                    if batch.is_short:
                        self._n_answered = _n_clients(one for one, _ in wanted)
                        self._held_until = monotonic() + min(MAX_HOLD_S, _MAX_HOLD * seconds)
                for one, result in wanted:
                    one.client._complete(one, result)
                self._running.remove(batch)
        self._dispatch()

    # All below is called with the lock held.

    def _next_batch(self) -> _Batch[Item, Result] | None:
        n_idle = self._max_calls - len(self._running)
        if n_idle <= 0:
            return None
        for is_short in self._order():
            clients = [client for client in self._turns if client._is_short is is_short]
            queued = self._batch_of(clients, n_idle)
            if queued:
                self._start(queued, is_short=is_short)
                return _Batch(queued, is_short)
        return None

    def _order(self) -> Iterator[bool]:
        """Yields which clients get the next call: short ones (True) and others, as far as one is free."""
        n_short = sum(batch.is_short for batch in self._running)
        n_long = len(self._running) - n_short
        is_reserved = self._max_calls > 1 and monotonic() - self._short_at < self._reserve_s
        short_first = n_short < n_long or (n_short == n_long and not self._was_short)
        for is_short in (short_first, not short_first):
            if is_short or not is_reserved or n_long < self._max_calls - 1:
                yield is_short

    def _wait_s(self) -> float:
        """Returns after how many seconds a client has to look whether a batch can be started."""
        held_s = self._held_until - monotonic()
        return min(_POLL_S, held_s) if held_s > 0 else _POLL_S

    def _start(self, queued: list[_Queued[Item, Result]], *, is_short: bool) -> None:
        self._has_started, self._was_short = True, is_short
        self._held_until = 0.0
        if is_short and any(one.client._is_waiting for one in queued):
            self._short_at = monotonic()
        served = dict.fromkeys(one.client for one in queued)
        for one in queued:
            one.client._take(one)
        waiting = [client for client in self._turns if client._n_queued]
        self._turns = [client for client in waiting if client not in served]
        self._turns += [client for client in waiting if client in served]

    def _end_if_idle(self, *, is_last: bool) -> None:
        """Lets the next batches start together again, after the last items."""
        if is_last and not self._turns and not self._running:
            self._has_started = False

    def _batch_of(
        self, clients: Sequence[BatchClient[Item, Result]], n_idle: int
    ) -> list[_Queued[Item, Result]]:
        """Returns the items of the next batch of these clients, in turns; empty if none can be started."""
        requeued = _by_group(client._requeued for client in clients)
        for items in requeued.values():
            if len(items) >= self._batch_size:
                return self._limited(_by_priority(items), self._batch_size)
        new = _by_group(client._new for client in clients)
        for client in clients:
            if client._new:
                items = new[client._new[0].group]
            elif client._is_waiting:
                items = _by_priority(requeued[client._requeued[0].group])
            else:
                continue
            size = self._size(client, items, n_idle)
            if size:
                return self._limited(items, size)
        return []

    def _size(
        self, client: BatchClient[Item, Result], items: Sequence[_Queued[Item, Result]], n_idle: int
    ) -> int:
        """Returns the size of a client's batch out of these items; 0 if none should be started yet."""
        n_items = len(items)
        if client._is_waiting and client._is_short and n_items < self._batch_size and self._is_held(items):
            return 0
        if client._is_waiting:  # the last items are divided among the calls that are free
            return min(self._batch_size, -(-n_items // n_idle))
        if client._is_throttled and not self._running:  # items of too many groups: nothing else can start
            return min(self._batch_size, n_items)
        # The first batches start together: if no more items come, they are divided among the calls.
        enough = self._batch_size * (1 if self._has_started else self._max_calls)
        return self._batch_size if n_items >= enough else 0

    def _is_held(self, items: Iterable[_Queued[Item, Result]]) -> bool:
        return monotonic() < self._held_until and _n_clients(items) < self._n_answered

    def _limited(self, items: Iterable[_Queued[Item, Result]], size: int) -> list[_Queued[Item, Result]]:
        """Returns the first items, as many of each client as may share a batch."""
        counts: Counter[int] = Counter()
        batch: list[_Queued[Item, Result]] = []
        for one in items:
            if counts[id(one.client)] < one.client._max_items:
                counts[id(one.client)] += 1
                batch.append(one)
            if len(batch) == size:
                break
        return batch


@dataclass(eq=False)
class BatchClient(Generic[Item, Result]):
    """A client of a `BatchScheduler`: submits items, and gets each back with its result, in any order.

    It belongs to one thread. It is made by `BatchScheduler.client`.
    """

    _scheduler: BatchScheduler[Item, Result]
    _check: Callable[[], None]
    _observe: Callable[[int, float], None]
    _max_items: int
    _new: deque[_Queued[Item, Result]] = field(default_factory=deque)
    _requeued: list[_Queued[Item, Result]] = field(default_factory=list)
    _running: set[_Queued[Item, Result]] = field(default_factory=set)
    _done: list[tuple[Item, Result]] = field(default_factory=list)
    _observed: list[tuple[int, float]] = field(default_factory=list)
    _error: BaseException | None = None
    _n_submitted: int = 0
    _is_waiting: bool = False  # for its last items
    _is_throttled: bool = False  # it waits until it may submit more

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._scheduler._lock)

    def submit(self, item: Item, priority: int = 0) -> None:
        """Adds an item: a new one with priority 0, or a requeued one, where higher priorities come first."""
        queued = _Queued(item, priority, self._scheduler._group_of(item), self)
        with self._scheduler._lock:
            if not self._n_queued:
                self._scheduler._turns.append(self)
            if priority:
                self._requeued.append(queued)
            else:
                self._n_submitted += 1
                self._is_waiting = False
                self._new.append(queued)

    def completed(self, *, wait: bool) -> list[tuple[Item, Result]]:
        """Starts the batches that can be started, and returns the items of those that have finished.

        Args:
            wait: whether to start incomplete batches too, as no new items come for now, and to block until a
                batch has finished. Otherwise it blocks only while there is enough work: a full batch is ready
                for each call, of all clients together.

        Returns:
            An empty list if no item is left, or, without `wait`, if there is room for more items.

        Raises:
            Exception: raised by the call or by `check`; then all items of the client are dropped (`cancel`).
        """
        lock = self._scheduler._lock
        try:
            while True:
                self._check()
                with lock:
                    self._is_waiting, self._is_throttled = wait, not wait and self._is_ahead
                self._scheduler._dispatch()
                with lock:
                    must_wait = self._is_pending and not self._done and self._error is None
                    if must_wait and (wait or self._is_ahead):
                        self._changed.wait(self._scheduler._wait_s())
                        continue
                    self._is_throttled = False
                    self._scheduler._end_if_idle(is_last=wait and not self._is_pending)
                    pairs, self._done = self._done, []
                    observed, self._observed = self._observed, []
                    error = self._error
                for n_items, seconds in observed:
                    self._observe(n_items, seconds)
                if error is not None:
                    raise error
                return pairs
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Drops all items; calls that are running finish, and their results are dropped."""
        with self._scheduler._lock:
            self._drop()
            self._done, self._observed, self._error = [], [], None
            self._n_submitted, self._is_waiting, self._is_throttled = 0, False, False
            self._scheduler._end_if_idle(is_last=True)

    # All below is called with the lock of the scheduler held.

    @property
    def _n_queued(self) -> int:
        return len(self._new) + len(self._requeued)

    @property
    def _is_pending(self) -> bool:
        return bool(self._n_queued or self._running)

    @property
    def _is_short(self) -> bool:
        return self._n_submitted <= self._scheduler._batch_size

    @property
    def _is_ahead(self) -> bool:
        """Whether the client has its share of the items that are buffered for the next batches.

        It is more than one, so that a client with a single item learns that this is its last.
        """
        buffered = self._scheduler._max_calls * self._scheduler._batch_size
        return len(self._new) >= max(2, buffered // max(1, len(self._scheduler._turns)))

    def _take(self, queued: _Queued[Item, Result]) -> None:
        (self._requeued if queued.priority else self._new).remove(queued)
        self._running.add(queued)
        if self._is_throttled:  # it may have room for more now
            self._changed.notify_all()

    def _complete(self, queued: _Queued[Item, Result], result: Result) -> None:
        self._running.remove(queued)
        self._done.append((queued.item, result))
        self._changed.notify_all()

    def _fail(self, queued: _Queued[Item, Result], error: BaseException) -> None:
        if queued in self._running:
            self._drop()  # else its next batch would be started before it learns of the error
            self._error = error
            self._changed.notify_all()

    def _drop(self) -> None:
        if self._n_queued:
            self._scheduler._turns.remove(self)
        self._new, self._requeued, self._running = deque(), [], set()


def _by_group(
    queues: Iterable[Iterable[_Queued[Item, Result]]],
) -> dict[Hashable, list[_Queued[Item, Result]]]:
    """Returns the items of all queues by group, one of each queue in turns."""
    groups: dict[Hashable, list[_Queued[Item, Result]]] = defaultdict(list)
    for turn in itertools.zip_longest(*queues):
        for one in turn:
            if one is not None:
                groups[one.group].append(one)
    return groups


def _n_clients(items: Iterable[_Queued[Item, Result]]) -> int:
    return len({id(one.client) for one in items})


def _by_priority(items: Iterable[_Queued[Item, Result]]) -> list[_Queued[Item, Result]]:
    return sorted(items, key=lambda one: one.priority, reverse=True)
