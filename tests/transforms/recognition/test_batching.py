from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, get_ident
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.executors import DeferredExecutor, InlineExecutor
from transforms.recognition import batching
from transforms.recognition.batching import BatchClient, BatchScheduler

TIMEOUT_S = 30.0  # events that are waited for come at once, or never

Batch = tuple[int, ...]


def no_check() -> None:
    pass


def batch_of_each(items: Sequence[int]) -> list[Batch]:
    """A call whose result for an item is the batch that it was in."""
    return [tuple(items)] * len(items)


def make_client(
    executor: Executor,
    max_concurrent_calls: int,
    batch_size: int,
    call: Callable[[Sequence[int]], Sequence[Batch]] = batch_of_each,
    check: Callable[[], None] = no_check,
) -> BatchClient[int, Batch]:
    """The only client of a client."""
    return BatchScheduler(executor, max_concurrent_calls, batch_size, call).client(check)


def submit_range(client: BatchClient[int, Batch], n: int) -> None:
    for item in range(n):
        client.submit(item)


def next_batches(client: BatchClient[int, Batch], *, wait: bool) -> list[list[int]]:
    """The batches of the next `completed`, with a call that is `batch_of_each`."""
    pairs, batches = client.completed(wait=wait), []
    while pairs:
        batch = list(pairs[0][1])
        assert [item for item, _ in pairs[: len(batch)]] == batch
        batches.append(batch)
        pairs = pairs[len(batch) :]
    return batches


def all_batches(client: BatchClient[int, Batch], *, wait: bool) -> list[list[int]]:
    """The batches of `completed` until it returns none."""
    found: list[list[int]] = []
    while batches := next_batches(client, wait=wait):
        found += batches
    return found


def sizes(client: BatchClient[int, Batch], *, wait: bool) -> list[int]:
    return [len(batch) for batch in all_batches(client, wait=wait)]


@given(
    max_concurrent_calls=st.integers(1, 4),
    batch_size=st.integers(1, 9),
    tries=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=60),
    inline=st.booleans(),
)
def test_every_item_is_completed_as_often_as_it_was_submitted(
    max_concurrent_calls: int, batch_size: int, tries: list[tuple[int, bool]], inline: bool
) -> None:
    """Item i is submitted `tries[i][0]` times, as a new one or as a requeued one."""
    seen: list[int] = []
    batch_sizes: list[int] = []

    def consume(*, wait: bool) -> None:
        while pairs := client.completed(wait=wait):
            for item, result in pairs:
                assert result == -item
                seen.append(item)
                n_tries, is_requeued = tries[item]
                if seen.count(item) < n_tries:
                    client.submit(item, priority=seen.count(item) if is_requeued else 0)

    def call(batch: Sequence[int]) -> list[int]:
        return [-item for item in batch]

    def observe(n_items: int, _: float) -> None:
        batch_sizes.append(n_items)

    with InlineExecutor() if inline else ThreadPoolExecutor(max_concurrent_calls) as executor:
        scheduler: BatchScheduler[int, int] = BatchScheduler(executor, max_concurrent_calls, batch_size, call)
        client = scheduler.client(no_check, observe)
        for item in range(len(tries)):
            client.submit(item)
            consume(wait=False)
        consume(wait=True)
    assert sorted(seen) == [item for item, (n_tries, _) in enumerate(tries) for _ in range(n_tries)]
    assert all(1 <= size <= batch_size for size in batch_sizes)
    assert sum(batch_sizes) == len(seen)
    assert client.completed(wait=True) == []


@pytest.mark.parametrize(
    ("n_items", "max_concurrent_calls", "batch_size", "expected"),
    [
        (9, 2, 8, [5, 4]),
        (6, 1, 8, [6]),
        (5, 1, 8, [5]),
        (3, 4, 8, [1, 1, 1]),
        (10, 4, 8, [3, 3, 2, 2]),
        (16, 2, 8, [8, 8]),
        (20, 2, 8, [8, 8, 4]),
        (24, 2, 8, [8, 8, 8]),
        (7, 1, 8, [7]),
    ],
)
def test_the_last_items_are_divided_among_the_free_calls(
    n_items: int, max_concurrent_calls: int, batch_size: int, expected: list[int]
) -> None:
    executor = DeferredExecutor()
    client = make_client(
        executor, max_concurrent_calls, batch_size, check=lambda: executor.run_first(max_concurrent_calls)
    )
    submit_range(client, n_items)
    assert sizes(client, wait=True) == expected


def test_the_first_batches_wait_until_there_is_one_for_each_call() -> None:
    client = make_client(InlineExecutor(), 3, 2)
    for item in range(5):
        client.submit(item)
        assert sizes(client, wait=False) == []
    client.submit(5)
    assert sizes(client, wait=False) == [2, 2, 2]
    client.submit(6)
    assert sizes(client, wait=False) == []
    client.submit(7)
    assert sizes(client, wait=False) == [2]  # from then on, one at a time


def test_it_does_not_block_until_a_full_batch_is_ready_for_each_busy_call() -> None:
    executor, n_checks = DeferredExecutor(), 0

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        assert n_checks <= 7, "it waits"  # once each time, and again only while it waits

    client = make_client(executor, 2, 2, check=check)
    for item in range(7):  # two batches run, and all but two batches are ready
        client.submit(item)
        assert sizes(client, wait=False) == []
    assert len(executor.calls) == 2


def test_it_blocks_for_one_batch_when_all_calls_are_busy_and_a_batch_is_ready_for_each() -> None:
    started, proceed = Event(), Event()

    def call(batch: Sequence[int]) -> list[Batch]:
        started.set()
        assert proceed.wait(TIMEOUT_S)
        return batch_of_each(batch)

    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:  # it waits in vain, and checks in between; now let the calls end
            proceed.set()

    with ThreadPoolExecutor(1) as executor:
        client = make_client(executor, 1, 2, call, check)
        submit_range(client, 6)
        batches = all_batches(client, wait=False)
        assert started.is_set()
        assert checks >= 3
        assert batches[0] == [0, 1]
        assert batches + all_batches(client, wait=True) == [[0, 1], [2, 3], [4, 5]]


def test_requeued_items_wait_for_a_full_batch_and_those_of_high_priority_go_first() -> None:
    client = make_client(InlineExecutor(), 1, 3)
    for item, priority in ((1, 1), (2, 3), (3, 1)):
        client.submit(item, priority)
        if item < 3:
            assert sizes(client, wait=False) == []
    client.submit(4, 2)
    assert all_batches(client, wait=False) == [[2, 4, 1]]
    assert all_batches(client, wait=True) == [[3]]


def test_full_batches_of_requeued_items_go_before_new_items() -> None:
    client = make_client(InlineExecutor(), 1, 2)
    submit_range(client, 2)
    for item in (7, 8, 9):
        client.submit(item, priority=1)
    assert all_batches(client, wait=False) == [[7, 8], [0, 1]]
    client.submit(2)
    assert all_batches(client, wait=True) == [[2], [9]]


def test_at_the_end_requeued_items_are_divided_and_wait_for_no_other_call() -> None:
    executor = DeferredExecutor()
    n_made = iter([0, 1, 0, 2, 0])  # calls that end at each check
    client = make_client(executor, 2, 8, check=lambda: executor.run_first(next(n_made)))
    for item in range(5):
        client.submit(item, priority=item + 1)
    assert next_batches(client, wait=True) == [[4, 3, 2]]
    client.submit(9, priority=9)  # one call is free, while the other still works
    assert all_batches(client, wait=True) == [[1, 0], [9]]


def test_each_finished_batch_is_observed_on_the_thread_of_the_caller() -> None:
    observed: list[tuple[int, float, int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        sleep(0.01)
        return batch_of_each(batch)

    with ThreadPoolExecutor(1) as executor:
        scheduler: BatchScheduler[int, Batch] = BatchScheduler(executor, 1, 3, call)
        client = scheduler.client(no_check, lambda n, seconds: observed.append((n, seconds, get_ident())))
        submit_range(client, 5)
        assert sizes(client, wait=True) == [3, 2]
    assert [(n, thread) for n, _, thread in observed] == [(3, get_ident()), (2, get_ident())]
    assert all(seconds >= 0.01 for _, seconds, _ in observed)


class CallError(Exception):
    pass


def test_an_exception_of_a_call_is_raised_and_queued_batches_are_not_called() -> None:
    fail = Event()
    called: list[list[int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        called.append(list(batch))
        assert fail.wait(TIMEOUT_S)
        raise CallError("no")

    with ThreadPoolExecutor(1) as executor:
        client = make_client(executor, 1, 1, call)
        client.submit(0)
        assert sizes(client, wait=False) == []
        client.submit(1)
        fail.set()
        with pytest.raises(CallError):
            sizes(client, wait=True)
    assert called == [[0]]
    assert sizes(client, wait=True) == []


def test_a_call_with_too_few_results_is_an_error() -> None:
    client = make_client(InlineExecutor(), 1, 3, lambda batch: batch_of_each(batch)[1:])
    submit_range(client, 3)
    with pytest.raises(ValueError, match="shorter"):
        client.completed(wait=True)
    assert client.completed(wait=True) == []


class StopError(Exception):
    pass


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_an_exception_of_the_check_ends_waiting_and_queued_batches_are_not_called(
    error: type[BaseException],
) -> None:
    executor, n_checks = DeferredExecutor(), 0
    called: list[list[int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        called.append(list(batch))
        return batch_of_each(batch)

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 3:
            raise error

    client = make_client(executor, 1, 1, call, check)
    submit_range(client, 3)
    with pytest.raises(error):
        sizes(client, wait=False)
    executor.run_first(2)
    assert called == []
    assert sizes(client, wait=True) == []


def test_it_checks_before_it_starts_a_batch() -> None:
    def check() -> None:
        raise StopError

    executor = DeferredExecutor()
    client = make_client(executor, 1, 1, check=check)
    client.submit(0)
    with pytest.raises(StopError):
        sizes(client, wait=False)
    assert executor.calls == []


def test_cancel_drops_submitted_requeued_and_queued_items() -> None:
    executor = DeferredExecutor()
    called: list[list[int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        called.append(list(batch))
        return batch_of_each(batch)

    client = make_client(executor, 1, 1, call)
    client.submit(0)
    assert sizes(client, wait=False) == []
    executor.run_first(1)
    submit_range(client, 2)
    client.submit(9, priority=1)
    assert next_batches(client, wait=True) == [[0]]
    client.cancel()
    executor.run_first(9)
    assert called == [[0]]
    assert sizes(client, wait=True) == []


def test_after_cancel_it_starts_anew_and_drops_results_of_running_calls() -> None:
    started, proceed = Event(), Event()

    def call(batch: Sequence[int]) -> list[Batch]:
        started.set()
        assert proceed.wait(TIMEOUT_S)
        return batch_of_each(batch)

    with ThreadPoolExecutor(2) as executor:
        client = make_client(executor, 2, 1, call)
        submit_range(client, 3)
        assert sizes(client, wait=False) == []
        assert started.wait(TIMEOUT_S)
        client.submit(9, priority=1)
        client.cancel()
        proceed.set()
        assert client.completed(wait=True) == []
        client.submit(5)
        assert sizes(client, wait=False) == []  # the first batches wait for one another again
        assert all_batches(client, wait=True) == [[5]]


def test_several_schedulers_share_an_executor() -> None:
    with ThreadPoolExecutor(2) as executor:
        schedulers = [make_client(executor, 2, 3) for _ in range(4)]
        n_before = []
        for n, client in enumerate(schedulers):
            submit_range(client, 5 + n)
            n_before.append(sum(sizes(client, wait=False)))
        schedulers[0].cancel()
        assert sizes(schedulers[0], wait=True) == []
        n_after = [sum(sizes(client, wait=True)) for client in schedulers]
        assert [n_before[n] + n_after[n] for n in (1, 2, 3)] == [6, 7, 8]


def shared_clients(
    executor: Executor, n: int, *, max_calls: int = 1, batch_size: int = 2, reserve_s: float = 0.0
) -> list[BatchClient[int, Batch]]:
    """Clients of one scheduler; a poll takes no time."""
    scheduler: BatchScheduler[int, Batch] = BatchScheduler(
        executor,
        max_calls,
        batch_size,
        batch_of_each,
        group_of=lambda item: item // 1000,
        reserve_s=reserve_s,
    )
    return [scheduler.client(check=lambda: run_all(executor)) for _ in range(n)]


def all_wait(*clients: BatchClient[int, Batch]) -> None:
    """Lets clients wait for their last items, as if each did in its own thread."""
    for client in clients:
        client._is_waiting = True


def run_all(executor: Executor) -> None:
    if isinstance(executor, DeferredExecutor):
        executor.run_first(len(executor.calls))


def test_clients_share_batches() -> None:
    one, other = shared_clients(DeferredExecutor(), 2, batch_size=4)
    for client, item in ((one, 1), (other, 2), (one, 3), (other, 4)):
        client.submit(item)
    all_wait(one, other)
    assert one.completed(wait=True) == [(1, (1, 2, 3, 4)), (3, (1, 2, 3, 4))]
    assert other.completed(wait=True) == [(2, (1, 2, 3, 4)), (4, (1, 2, 3, 4))]
    assert one.completed(wait=True) == other.completed(wait=True) == []


def test_a_client_with_few_items_does_not_wait_for_all_those_of_another() -> None:
    long, short = shared_clients(DeferredExecutor(), 2)
    for item in range(100, 108):
        long.submit(item)
    all_wait(long)
    long._scheduler._dispatch()  # its first batch runs
    short.submit(1)
    all_wait(short)
    assert short.completed(wait=True) == [(1, (1,))]  # the next call
    assert [item for item, _ in long.completed(wait=True)] == [100, 101, 102, 103]  # two batches so far


def test_long_clients_take_turns() -> None:
    clients = shared_clients(DeferredExecutor(), 3)
    for start, client in enumerate(clients):
        for item in range(5):
            client.submit(100 * start + item)
    all_wait(*clients)
    batches = {batch for client in clients for _ in range(5) for _, batch in client.completed(wait=True)}
    assert {(0, 100), (200, 1), (101, 201), (2, 102), (202, 3), (103, 203), (4, 104), (204,)} == batches


def test_a_client_whose_item_is_requeued_is_served_in_turn_too() -> None:
    """Requests that keep coming must not keep a requeued item waiting for ever."""
    executor = DeferredExecutor()
    requeued, *others = shared_clients(executor, 4)
    requeued.submit(1001, priority=1)
    finished: list[int] = []
    for turn in range(3):
        for client in others:
            client.submit(turn)
        finished += [item for item, _ in requeued.completed(wait=True)]
        for client in others:
            client.completed(wait=True)
    assert finished == [1001]


def test_items_of_different_groups_share_no_batch() -> None:
    executor = DeferredExecutor()
    one, other = shared_clients(executor, 2, batch_size=4)
    for item in (1, 2, 1001):
        one.submit(item)
    other.submit(1002)
    all_wait(one, other)
    found = [pair for _ in range(3) for pair in one.completed(wait=True)]
    assert sorted(found) == [(1, (1, 2)), (2, (1, 2)), (1001, (1002, 1001))]
    assert other.completed(wait=True) == [(1002, (1002, 1001))]


def test_no_client_waits_for_ever_for_a_full_batch_of_one_group() -> None:
    executor = DeferredExecutor()
    clients = shared_clients(executor, 3, batch_size=3)
    for n, client in enumerate(clients):
        client.submit(1000 * n)
    assert clients[0].completed(wait=False) in ([], [(0, (0,))])  # it is throttled, and starts its own batch
    assert sum(len(client.completed(wait=True)) for client in clients) >= 2


def test_items_buffered_by_all_clients_are_bounded() -> None:
    executor = DeferredExecutor()
    n_buffered = []
    for n_clients in (1, 2, 4):
        clients = shared_clients(executor, n_clients, max_calls=2, batch_size=4)
        for client in clients:
            while not client._is_ahead:
                client.submit(0)
        n_buffered.append(sum(client._n_queued for client in clients))
    assert n_buffered == [8, 12, 16]  # 2 calls of 4; those that came first had more


def test_a_call_stays_free_for_the_next_short_client() -> None:
    executor = DeferredExecutor()
    long, short, next_short = shared_clients(executor, 3, max_calls=2, reserve_s=60.0)
    short.submit(1)
    assert short.completed(wait=True) == [(1, (1,))]
    for item in range(100, 104):
        long.submit(item)
    long._scheduler._dispatch()
    assert len(executor.calls) == 1  # not two
    next_short.submit(2)
    all_wait(next_short)
    long._scheduler._dispatch()
    assert len(executor.calls) == 2
    assert next_short.completed(wait=True) == [(2, (2,))]


def test_without_a_short_client_all_calls_are_used() -> None:
    executor = DeferredExecutor()
    (long,) = shared_clients(executor, 1, max_calls=2, reserve_s=60.0)
    for item in range(100, 104):
        long.submit(item)
    long._scheduler._dispatch()
    assert len(executor.calls) == 2


def test_items_of_a_cancelled_client_are_never_called() -> None:
    executor = DeferredExecutor()
    gone, stays = shared_clients(executor, 2, batch_size=4)
    for item in range(3):
        gone.submit(item)
    stays.submit(9)
    gone.cancel()
    assert stays.completed(wait=True) == [(9, (9,))]


def test_a_client_has_at_most_so_many_items_in_a_batch() -> None:
    executor = DeferredExecutor()
    scheduler: BatchScheduler[int, Batch] = BatchScheduler(executor, 1, 4, batch_of_each)
    limited = scheduler.client(lambda: run_all(executor), max_items=1)
    free = scheduler.client(lambda: run_all(executor))
    for item in range(2):
        limited.submit(item)
        free.submit(10 + item)
    all_wait(limited, free)
    assert limited.completed(wait=True) == [(0, (0, 10, 11))]
    assert limited.completed(wait=True) == [(1, (1,))]


def test_an_error_of_a_call_reaches_each_client_of_the_batch_and_no_other() -> None:
    executor = InlineExecutor()

    def call(batch: Sequence[int]) -> list[Batch]:
        if 1 in batch:
            raise CallError("no")
        return batch_of_each(batch)

    scheduler: BatchScheduler[int, Batch] = BatchScheduler(executor, 1, 2, call)
    one, other, third = (scheduler.client() for _ in range(3))
    one.submit(1)
    other.submit(2)
    all_wait(one, other)
    with pytest.raises(CallError):
        one.completed(wait=True)
    with pytest.raises(CallError):
        other.completed(wait=True)
    third.submit(3)
    assert third.completed(wait=True) == [(3, (3,))]
    other.submit(4)
    assert other.completed(wait=True) == [(4, (4,))]


@given(st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=6), st.integers(1, 4))
def test_each_of_many_threads_gets_its_own_results(tries: list[list[int]], batch_size: int) -> None:
    """Client i requeues its item j `tries[i][j]` times."""

    def drive(client: BatchClient[tuple[int, int], tuple[int, int]], own: int) -> list[int]:
        seen: list[int] = []

        def consume(*, wait: bool) -> None:
            while pairs := client.completed(wait=wait):
                for (owner, item), result in pairs:
                    assert (owner, item) == result
                    assert owner == own
                    seen.append(item)
                    if seen.count(item) <= tries[own][item]:
                        client.submit((own, item), priority=seen.count(item))

        for item in range(len(tries[own])):
            client.submit((own, item))
            consume(wait=False)
        consume(wait=True)
        return sorted(seen)

    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(len(tries)) as threads:
        scheduler: BatchScheduler[tuple[int, int], tuple[int, int]] = BatchScheduler(
            executor, 2, batch_size, list, group_of=lambda item: item[1] % 2
        )
        found = list(threads.map(lambda own: drive(scheduler.client(), own), range(len(tries))))
    assert found == [[item for item, n in enumerate(own) for _ in range(n + 1)] for own in tries]


def test_a_batch_waits_a_moment_for_the_clients_that_were_just_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0

    def call(batch: Sequence[int]) -> list[Batch]:
        nonlocal now
        now += 10.0
        return batch_of_each(batch)

    monkeypatch.setattr(batching, "monotonic", lambda: now)
    monkeypatch.setattr(batching, "perf_counter", lambda: now)
    executor = DeferredExecutor()
    scheduler: BatchScheduler[int, Batch] = BatchScheduler(executor, 1, 4, call)
    one, other, third = (scheduler.client(lambda: run_all(executor)) for _ in range(3))

    def submit(*clients: BatchClient[int, Batch]) -> int:
        """Submits an item of each; returns how many calls are started."""
        for client in clients:
            client.submit(1)
        all_wait(*clients)
        scheduler._dispatch()
        return len(executor.calls)

    assert submit(one) == 1  # nobody was answered before
    run_all(executor)
    assert submit(one, other) == 1  # one was answered, and at least one waits
    run_all(executor)
    assert submit(one) == 0  # the other one may come back
    assert scheduler._wait_s() == pytest.approx(batching.MAX_HOLD_S)
    assert submit(third) == 1  # as many as were answered
    run_all(executor)
    assert submit(one) == 0
    now += batching.MAX_HOLD_S
    assert submit() == 1


def test_short_recordings_that_are_still_read_use_the_reserved_call_too() -> None:
    executor = DeferredExecutor()
    clients = shared_clients(executor, 9, max_calls=2, reserve_s=60.0)
    clients[0].submit(1)
    assert clients[0].completed(wait=True) == [(1, (1,))]
    for client in clients[1:]:
        client.submit(1)
        assert not client._is_ahead  # it reads on, and learns that this was its only item
    clients[1]._scheduler._dispatch()
    assert len(executor.calls) == 2


def test_a_throttled_client_reads_on_as_soon_as_its_items_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_POLL_S", TIMEOUT_S)
    proceed = Event()

    def call(batch: Sequence[int]) -> list[Batch]:
        if 0 in batch:
            assert proceed.wait(TIMEOUT_S)
        return batch_of_each(batch)

    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as threads:
        scheduler: BatchScheduler[int, Batch] = BatchScheduler(executor, 1, 2, call)
        first, throttled = scheduler.client(), scheduler.client()
        submit_range(first, 2)
        first.completed(wait=False)
        for item in (5, 6):
            throttled.submit(item)
        waits = threads.submit(throttled.completed, wait=False)
        while not throttled._is_throttled:
            sleep(0.001)
        proceed.set()
        assert waits.result(TIMEOUT_S / 2) in ([], [(5, (5, 6)), (6, (5, 6))])
