from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.batch_clients import (
    TIMEOUT_S,
    Batch,
    CallError,
    all_batches,
    batch_of_each,
    make_client,
    next_batches,
    no_check,
    sizes,
    submit_range,
)
from tests.support.executors import DeferredExecutor, InlineExecutor
from transforms.recognition.batching import BatchScheduler


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
