"""Windows of any clients, for the running batches of all lanes.

Clients are bundles of a pipeline, recordings of the Python API, or requests of a server, each in a thread of
its own that reads while threads of an executor call the model. On a CPU a single call does not keep all cores
busy, and elsewhere the host prepares windows while the device works on others.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass, field
from time import monotonic, perf_counter

from model.interface import Request, Transcriber
from transforms.recognition.due_groups import due_groups, longest_wait_s
from transforms.recognition.lanes import Answer, Lane

_POLL_S = 0.2  # how long a request to stop may go unnoticed
_N_BUFFERED = 2  # windows that wait for each row, at most, before clients do


def _no_check() -> None:
    """Never stops."""


def _not_observed(n_windows: int, seconds: float) -> None:
    """Counts nothing."""


@dataclass(eq=False)
class _Queued:
    """A submitted request."""

    request: Request
    priority: int
    group: Hashable
    client: BatchClient
    since_s: float  # time at which it was submitted, or its last turn

    @property
    def has_waited(self) -> bool:
        """Whether it should no longer wait for windows of other groups."""
        return monotonic() - self.since_s >= longest_wait_s(is_short=self.client._is_short)


@dataclass(eq=False)
class _RunningLane:
    """A lane in a thread, and what it decodes, by the identity of the request."""

    lane: Lane
    queued: dict[int, _Queued] = field(default_factory=dict)
    has_begun: bool = False  # another batch, in the last turn

    @property
    def n_long(self) -> int:
        return sum(not one.client._is_short for one in self.queued.values())

    def n_of(self, client: BatchClient) -> int:
        return sum(one.client is client for one in self.queued.values())


@dataclass(frozen=True)
class _Turn:
    """What a lane does next."""

    group: Hashable
    queued: list[_Queued]
    has_more: bool


class BatchScheduler:
    """Decodes the windows of several clients in running batches, each in a lane. For use by any threads.

    A window takes the first row that is free in a batch of its group, so none waits for others to finish.
    Free rows are given to the clients in turns, and to the windows of a client by priority. Lanes share the
    windows evenly. While a lane has many windows of other groups, those of a group wait until they are many,
    too, or until one has waited for some time (`due_groups`).

    Clients that have submitted no more windows than a batch has rows are short. For `reserve_s` seconds after
    one, the windows of the others leave one lane to the next.

    Args:
        executor: runs the lanes, in at least `max_concurrent_calls` threads.
        transcriber: the model.
        check: raises if the process is to stop.
        reserve_s: see above. Without effect if there is a single lane.
    """

    def __init__(
        self,
        executor: Executor,
        transcriber: Transcriber,
        check: Callable[[], None] = _no_check,
        reserve_s: float = 0.0,
    ) -> None:
        self._executor, self._transcriber, self._check = executor, transcriber, check
        self._n_lanes, self._reserve_s = transcriber.max_concurrent_calls, reserve_s
        self._lock = threading.Lock()
        self._turns: list[BatchClient] = []  # clients with queued windows, the next one first
        self._lanes: list[_RunningLane] = []
        self._n_rows = transcriber.batch_size  # of new batches: fewer once memory ran out
        self._short_at = -float("inf")  # time of the last window of a short client

    def client(
        self,
        check: Callable[[], None] = _no_check,
        observe: Callable[[int, float], None] = _not_observed,
        max_windows: int | None = None,
    ) -> BatchClient:
        """Returns a new client, which belongs to one thread.

        Args:
            check: called before requests are given out, and repeatedly while the client waits; may raise.
            observe: called on the client's thread with the windows that were decoded together in a turn of a
                lane, and its seconds; for those of several clients, on the thread of one of them.
            max_windows: maximum number of the client's windows in a lane; None for the rows of a batch.
        """
        return BatchClient(self, check, observe, max_windows or self._transcriber.batch_size)

    def _dispatch(self) -> None:
        """Starts lanes, if there are windows for them."""
        while True:
            running = _RunningLane(Lane(self._transcriber, self._check, self._n_rows))
            try:
                with self._lock:
                    if len(self._lanes) >= self._n_lanes or self._next_turn(running, peek=True) is None:
                        return
                    self._lanes.append(running)
                self._executor.submit(self._run, running)
            except BaseException:  # the executor was shut down, or the thread is interrupted
                with self._lock:
                    self._end(running)
                raise

    def _run(self, running: _RunningLane) -> None:
        """Decodes windows in a lane until none is left."""
        try:
            while self._has_turn(running):
                pass
        except BaseException as error:  # raised where the clients wait
            with self._lock:
                self._end(running)
                for one in running.queued.values():
                    one.client._fail(one, error)
            self._dispatch()

    def _has_turn(self, running: _RunningLane) -> bool:
        """Runs the next turn of a lane; if it has none, the lane ends."""
        with self._lock:
            turn = self._next_turn(running)
            if turn is None:
                self._end(running)
                return False
            n_windows = len(running.queued)
        started = perf_counter()
        requests = [one.request for one in turn.queued]
        answers = running.lane.turn(turn.group, requests, has_more=turn.has_more)
        with self._lock:
            self._n_rows = min(self._n_rows, running.lane.n_rows)
            for one in running.queued.values():
                if one.group == turn.group:
                    one.since_s = monotonic()
            self._hand_out(running, answers, n_windows, perf_counter() - started)
        return True

    # All below is called with the lock held.

    def _end(self, running: _RunningLane) -> None:
        if running in self._lanes:
            self._lanes.remove(running)

    def _hand_out(
        self,
        running: _RunningLane,
        answers: Sequence[tuple[Request, Answer]],
        n_windows: int,
        seconds: float,
    ) -> None:
        """Gives the clients their answers; the turn is counted by one that still waits for something."""
        for one in running.queued.values():
            if one in one.client._running:
                one.client._observed.append((n_windows, seconds))
                break
        for request, answer in answers:
            one = running.queued.pop(id(request))
            if one in one.client._running:  # else it was cancelled
                one.client._complete(one, answer)

    def _next_turn(self, running: _RunningLane, *, peek: bool = False) -> _Turn | None:
        """Returns the next turn of a lane, which takes windows for it; None if it has nothing to do.

        Args:
            running: the lane.
            peek: whether the windows stay with their clients.
        """
        lane = running.lane
        if lane.is_dividing:
            return _Turn(None, [], has_more=False)
        found = self._next_group(running)
        if found is None:
            return None
        (group,) = found
        n_free = min(lane.n_free(group), self._share(running) - len(running.queued))
        is_due = group in self._due(running)
        is_refilled = is_due and n_free >= lane.n_refilled(group)
        chosen = self._chosen(running, group, n_free) if is_refilled else []
        if not peek:
            running.has_begun = bool(lane.groups) and group not in lane.groups
            for one in chosen:
                self._take(running, one)
        has_more = is_due and any(one.group == group for one in self._waiting(running))
        return _Turn(group, chosen, has_more)

    def _next_group(self, running: _RunningLane) -> tuple[Hashable] | None:
        """Returns the group whose batch is advanced next, or of which one is begun; None if there is none.

        After another batch was begun, the first one is advanced: else it would wait for as long as windows
        of other groups keep coming.
        """
        lane, due = running.lane, self._due(running)
        if not running.has_begun and len(running.queued) < self._share(running):
            for one in self._waiting(running):
                is_new = one.group in due and one.group not in lane.groups
                if is_new and running.n_of(one.client) < one.client._max_windows:
                    return (one.group,)
        if not lane.groups:
            return None
        return (next((group for group in lane.groups if group in due), lane.groups[0]),)

    def _due(self, running: _RunningLane) -> Set[Hashable]:
        """Returns the groups whose windows a lane takes, and decodes, now."""
        waiting, own = list(self._waiting(running)), list(running.queued.values())
        overdue = [one.group for one in (*waiting, *own) if one.has_waited]
        n_rows = running.lane.n_rows
        return due_groups([one.group for one in waiting], [one.group for one in own], overdue, n_rows)

    def _share(self, running: _RunningLane) -> int:
        """Returns the number of windows that a lane may have, if all lanes are to have equally many."""
        n_all = sum(client._n_queued for client in self._turns) + sum(len(one.queued) for one in self._lanes)
        return -(-n_all // self._n_lanes)

    def _waiting(self, running: _RunningLane) -> Iterator[_Queued]:
        """Yields the windows that a lane may take as it has room for them, in the order of turns."""
        for client in self._turns:
            if client._is_short or not self._is_reserved(running):
                yield from client._queue

    def _is_reserved(self, running: _RunningLane) -> bool:
        """Whether a lane is to be left to short clients."""
        if self._n_lanes == 1 or monotonic() - self._short_at >= self._reserve_s or running.n_long:
            return False
        return sum(lane.n_long > 0 for lane in self._lanes) >= self._n_lanes - 1

    def _chosen(self, running: _RunningLane, group: Hashable, n_free: int) -> list[_Queued]:
        """Returns the windows of a group that a lane takes now: one of each client in turns."""
        queues: dict[BatchClient, deque[_Queued]] = {}
        for one in self._waiting(running):
            if one.group == group:
                queues.setdefault(one.client, deque()).append(one)
        counts = Counter({client: running.n_of(client) for client in queues})
        chosen: list[_Queued] = []
        while queues and len(chosen) < n_free:
            for client, queue in list(queues.items()):
                if not queue or counts[client] >= client._max_windows:
                    del queues[client]
                elif len(chosen) < n_free:
                    counts[client] += 1
                    chosen.append(queue.popleft())
        return chosen

    def _take(self, running: _RunningLane, one: _Queued) -> None:
        """Gives a window to a lane; its client is behind the others now."""
        client = one.client
        client._queue.remove(one)
        client._running.add(one)
        running.queued[id(one.request)] = one
        self._turns.remove(client)
        if client._queue:
            self._turns.append(client)
        if client._is_short:
            self._short_at = monotonic()
        client._changed.notify_all()  # it may have room for more now


@dataclass(eq=False)
class BatchClient:
    """A client of a `BatchScheduler`: submits requests, and gets each back with its answer, in any order.

    It belongs to one thread. It is made by `BatchScheduler.client`.
    """

    _scheduler: BatchScheduler
    _check: Callable[[], None]
    _observe: Callable[[int, float], None]
    _max_windows: int
    _queue: list[_Queued] = field(default_factory=list)  # by priority, the highest first
    _running: set[_Queued] = field(default_factory=set)
    _done: list[tuple[Request, Answer]] = field(default_factory=list)
    _observed: list[tuple[int, float]] = field(default_factory=list)
    _error: BaseException | None = None
    _n_submitted: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._scheduler._lock)

    def submit(self, request: Request, priority: int = 0) -> None:
        """Adds a request: a new one with priority 0, or a repeated one; the highest priority comes first."""
        group = self._scheduler._transcriber.batch_group(request)
        queued = _Queued(request, priority, group, self, monotonic())
        with self._scheduler._lock:
            if not self._queue:
                self._scheduler._turns.append(self)
            self._n_submitted += not priority
            n_before = sum(one.priority >= priority for one in self._queue)
            self._queue.insert(n_before, queued)
        self._scheduler._dispatch()

    def completed(self, *, wait: bool) -> list[tuple[Request, Answer]]:
        """Returns the requests that are decoded.

        Args:
            wait: whether to block until one is. Otherwise it blocks only while there is enough work: as many
                windows wait, of all clients together, as the lanes soon have rows for.

        Returns:
            An empty list if no request is left, or, without `wait`, if there is room for more.

        Raises:
            Exception: raised by the model as a whole or by `check`; then all requests are dropped (`cancel`).
        """
        lock = self._scheduler._lock
        try:
            while True:
                self._check()
                self._scheduler._dispatch()
                with lock:
                    must_wait = self._is_pending and not self._done and self._error is None
                    if must_wait and (wait or self._is_ahead):
                        self._changed.wait(_POLL_S)
                        continue
                    pairs, self._done = self._done, []
                    observed, self._observed = self._observed, []
                    error = self._error
                for n_windows, seconds in observed:
                    self._observe(n_windows, seconds)
                if error is not None:
                    raise error
                return pairs
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Drops all requests; those that are being decoded are finished, and their results are dropped."""
        with self._scheduler._lock:
            self._drop()
            self._done, self._observed, self._error = [], [], None
            self._n_submitted = 0

    # All below is called with the lock of the scheduler held.

    @property
    def _n_queued(self) -> int:
        return len(self._queue)

    @property
    def _is_pending(self) -> bool:
        return bool(self._queue or self._running)

    @property
    def _is_short(self) -> bool:
        return self._n_submitted <= self._scheduler._transcriber.batch_size

    @property
    def _is_ahead(self) -> bool:
        """Whether the client has its share of the windows that wait."""
        transcriber = self._scheduler._transcriber
        buffered = _N_BUFFERED * transcriber.max_concurrent_calls * transcriber.batch_size
        return len(self._queue) >= max(2, buffered // max(1, len(self._scheduler._turns)))

    def _complete(self, queued: _Queued, answer: Answer) -> None:
        self._running.remove(queued)
        self._done.append((queued.request, answer))
        self._changed.notify_all()

    def _fail(self, queued: _Queued, error: BaseException) -> None:
        if queued in self._running:
            self._drop()  # else its next windows would be decoded before it learns of the error
            self._error = error
            self._changed.notify_all()

    def _drop(self) -> None:
        if self._queue:
            self._scheduler._turns.remove(self)
        self._queue, self._running = [], set()
