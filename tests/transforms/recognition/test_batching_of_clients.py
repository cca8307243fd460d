"""`BatchScheduler` with several clients."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.batch_clients import (
    TIMEOUT_S,
    Batch,
    CallError,
    all_wait,
    batch_of_each,
    run_all,
    shared_clients,
    submit_range,
)
from tests.support.executors import DeferredExecutor, InlineExecutor
from transforms.recognition import batching
from transforms.recognition.batching import BatchClient, BatchScheduler


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
