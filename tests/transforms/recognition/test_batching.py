from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, get_ident
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.executors import DeferredExecutor, InlineExecutor
from transforms.recognition.batching import BatchScheduler

TIMEOUT_S = 30.0  # events that are waited for come at once, or never

Batch = tuple[int, ...]


def no_check() -> None:
    pass


def batch_of_each(items: Sequence[int]) -> list[Batch]:
    """A call whose result for an item is the batch that it was in."""
    return [tuple(items)] * len(items)


def make_scheduler(
    executor: Executor,
    max_concurrent_calls: int,
    batch_size: int,
    call: Callable[[Sequence[int]], Sequence[Batch]] = batch_of_each,
    check: Callable[[], None] = no_check,
) -> BatchScheduler[int, Batch]:
    return BatchScheduler(executor, max_concurrent_calls, batch_size, call, check)


def submit_range(scheduler: BatchScheduler[int, Batch], n: int) -> None:
    for item in range(n):
        scheduler.submit(item)


def next_batches(scheduler: BatchScheduler[int, Batch], *, wait: bool) -> list[list[int]]:
    """The batches of the next `completed`, with a call that is `batch_of_each`."""
    pairs, batches = scheduler.completed(wait=wait), []
    while pairs:
        batch = list(pairs[0][1])
        assert [item for item, _ in pairs[: len(batch)]] == batch
        batches.append(batch)
        pairs = pairs[len(batch) :]
    return batches


def all_batches(scheduler: BatchScheduler[int, Batch], *, wait: bool) -> list[list[int]]:
    """The batches of `completed` until it returns none."""
    found: list[list[int]] = []
    while batches := next_batches(scheduler, wait=wait):
        found += batches
    return found


def sizes(scheduler: BatchScheduler[int, Batch], *, wait: bool) -> list[int]:
    return [len(batch) for batch in all_batches(scheduler, wait=wait)]


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
        while pairs := scheduler.completed(wait=wait):
            for item, result in pairs:
                assert result == -item
                seen.append(item)
                n_tries, is_requeued = tries[item]
                if seen.count(item) < n_tries:
                    scheduler.submit(item, priority=seen.count(item) if is_requeued else 0)

    def call(batch: Sequence[int]) -> list[int]:
        return [-item for item in batch]

    def observe(n_items: int, _: float) -> None:
        batch_sizes.append(n_items)

    with InlineExecutor() if inline else ThreadPoolExecutor(max_concurrent_calls) as executor:
        scheduler: BatchScheduler[int, int] = BatchScheduler(
            executor, max_concurrent_calls, batch_size, call, no_check, observe
        )
        for item in range(len(tries)):
            scheduler.submit(item)
            consume(wait=False)
        consume(wait=True)
    assert sorted(seen) == [item for item, (n_tries, _) in enumerate(tries) for _ in range(n_tries)]
    assert all(1 <= size <= batch_size for size in batch_sizes)
    assert sum(batch_sizes) == len(seen)
    assert scheduler.completed(wait=True) == []


@pytest.mark.parametrize(
    ("n_items", "max_concurrent_calls", "batch_size", "expected"),
    [
        (9, 2, 8, [5, 4]),
        (6, 1, 8, [6]),
        (5, 1, 8, [5]),
        (3, 4, 8, [1, 1, 1]),
        (10, 4, 8, [3, 3, 2, 2]),
        (16, 2, 8, [8, 8]),
        (20, 2, 8, [8, 8, 2, 2]),
        (24, 2, 8, [8, 8, 4, 4]),
        (7, 1, 8, [7]),
    ],
)
def test_the_last_items_are_divided_among_the_calls(
    n_items: int, max_concurrent_calls: int, batch_size: int, expected: list[int]
) -> None:
    with ThreadPoolExecutor(max_concurrent_calls) as executor:
        scheduler = make_scheduler(executor, max_concurrent_calls, batch_size)
        submit_range(scheduler, n_items)
        assert sorted(sizes(scheduler, wait=True), reverse=True) == expected


def test_a_call_that_is_still_busy_at_the_end_gets_its_share_later() -> None:
    executor = DeferredExecutor()
    scheduler = make_scheduler(executor, 2, 4)
    submit_range(scheduler, 8)
    assert sizes(scheduler, wait=False) == []
    executor.run_first(1)
    for item in (11, 12, 13):
        scheduler.submit(item)
    assert [len(batch) for batch in next_batches(scheduler, wait=True)] == [4]
    executor.run_first(1)
    assert [len(batch) for batch in next_batches(scheduler, wait=True)] == [4]
    executor.run_first(1)
    assert next_batches(scheduler, wait=True) == [[11, 12]]  # its half, though the other call was not free
    executor.run_first(1)
    assert next_batches(scheduler, wait=True) == [[13]]
    assert next_batches(scheduler, wait=True) == []


def test_the_first_batches_wait_until_there_is_one_for_each_call() -> None:
    scheduler = make_scheduler(InlineExecutor(), 3, 2)
    for item in range(5):
        scheduler.submit(item)
        assert sizes(scheduler, wait=False) == []
    scheduler.submit(5)
    assert sizes(scheduler, wait=False) == [2, 2, 2]
    scheduler.submit(6)
    assert sizes(scheduler, wait=False) == []
    scheduler.submit(7)
    assert sizes(scheduler, wait=False) == [2]  # from then on, one at a time


def test_it_does_not_block_until_a_full_batch_is_ready_for_each_busy_call() -> None:
    executor, n_checks = DeferredExecutor(), 0

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        assert n_checks <= 9, "it waits"  # once each time, and again only while it waits

    scheduler = make_scheduler(executor, 2, 2, check=check)
    for item in range(9):  # two batches run, one is prepared, and all but two batches are ready
        scheduler.submit(item)
        assert sizes(scheduler, wait=False) == []
    assert len(executor.calls) == 3


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
        scheduler = make_scheduler(executor, 1, 2, call, check)
        submit_range(scheduler, 6)
        batches = all_batches(scheduler, wait=False)
        assert started.is_set()
        assert checks >= 3
        assert batches[0] == [0, 1]
        assert batches + all_batches(scheduler, wait=True) == [[0, 1], [2, 3], [4, 5]]


def test_requeued_items_wait_for_a_full_batch_and_those_of_high_priority_go_first() -> None:
    scheduler = make_scheduler(InlineExecutor(), 1, 3)
    for item, priority in ((1, 1), (2, 3), (3, 1)):
        scheduler.submit(item, priority)
        if item < 3:
            assert sizes(scheduler, wait=False) == []
    scheduler.submit(4, 2)
    assert all_batches(scheduler, wait=False) == [[2, 4, 1]]
    assert all_batches(scheduler, wait=True) == [[3]]


def test_full_batches_of_requeued_items_go_before_new_items() -> None:
    scheduler = make_scheduler(InlineExecutor(), 1, 2)
    submit_range(scheduler, 2)
    for item in (7, 8, 9):
        scheduler.submit(item, priority=1)
    assert all_batches(scheduler, wait=False) == [[7, 8], [0, 1]]
    scheduler.submit(2)
    assert all_batches(scheduler, wait=True) == [[2], [9]]


def test_at_the_end_requeued_items_are_divided_and_wait_for_no_other_call() -> None:
    executor = DeferredExecutor()
    n_made = iter([0, 1, 0, 2, 0])  # calls that end at each check
    scheduler = make_scheduler(executor, 2, 8, check=lambda: executor.run_first(next(n_made)))
    for item in range(5):
        scheduler.submit(item, priority=item + 1)
    assert next_batches(scheduler, wait=True) == [[4, 3, 2]]
    scheduler.submit(9, priority=9)  # one call is free, while the other still works
    assert all_batches(scheduler, wait=True) == [[1, 0], [9]]


def test_each_finished_batch_is_observed_on_the_thread_of_the_caller() -> None:
    observed: list[tuple[int, float, int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        sleep(0.01)
        return batch_of_each(batch)

    with ThreadPoolExecutor(1) as executor:
        scheduler: BatchScheduler[int, Batch] = BatchScheduler(
            executor, 1, 3, call, no_check, lambda n, seconds: observed.append((n, seconds, get_ident()))
        )
        submit_range(scheduler, 5)
        assert sizes(scheduler, wait=True) == [3, 2]
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
        scheduler = make_scheduler(executor, 1, 1, call)
        scheduler.submit(0)
        assert sizes(scheduler, wait=False) == []
        occupied = Event()
        executor.submit(occupied.wait, TIMEOUT_S)  # a call of another scheduler goes first
        scheduler.submit(1)
        assert sizes(scheduler, wait=False) == []
        fail.set()
        with pytest.raises(CallError):
            sizes(scheduler, wait=True)
        occupied.set()
    assert called == [[0]]
    assert sizes(scheduler, wait=True) == []


def test_a_call_with_too_few_results_is_an_error() -> None:
    scheduler = make_scheduler(InlineExecutor(), 1, 3, lambda batch: batch_of_each(batch)[1:])
    submit_range(scheduler, 3)
    with pytest.raises(ValueError, match="shorter"):
        scheduler.completed(wait=True)
    assert scheduler.completed(wait=True) == []


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

    scheduler = make_scheduler(executor, 1, 1, call, check)
    submit_range(scheduler, 3)
    with pytest.raises(error):
        sizes(scheduler, wait=False)
    executor.run_first(2)
    assert called == []
    assert sizes(scheduler, wait=True) == []


def test_it_checks_before_it_starts_a_batch() -> None:
    def check() -> None:
        raise StopError

    executor = DeferredExecutor()
    scheduler = make_scheduler(executor, 1, 1, check=check)
    scheduler.submit(0)
    with pytest.raises(StopError):
        sizes(scheduler, wait=False)
    assert executor.calls == []


def test_cancel_drops_submitted_requeued_and_queued_items() -> None:
    executor = DeferredExecutor()
    called: list[list[int]] = []

    def call(batch: Sequence[int]) -> list[Batch]:
        called.append(list(batch))
        return batch_of_each(batch)

    scheduler = make_scheduler(executor, 1, 1, call)
    scheduler.submit(0)
    assert sizes(scheduler, wait=False) == []
    executor.run_first(1)
    submit_range(scheduler, 2)
    scheduler.submit(9, priority=1)
    assert next_batches(scheduler, wait=True) == [[0]]
    scheduler.cancel()
    executor.run_first(9)
    assert called == [[0]]
    assert sizes(scheduler, wait=True) == []


def test_after_cancel_it_starts_anew_and_drops_results_of_running_calls() -> None:
    started, proceed = Event(), Event()

    def call(batch: Sequence[int]) -> list[Batch]:
        started.set()
        assert proceed.wait(TIMEOUT_S)
        return batch_of_each(batch)

    with ThreadPoolExecutor(2) as executor:
        scheduler = make_scheduler(executor, 2, 1, call)
        submit_range(scheduler, 3)
        assert sizes(scheduler, wait=False) == []
        assert started.wait(TIMEOUT_S)
        scheduler.submit(9, priority=1)
        scheduler.cancel()
        proceed.set()
        assert scheduler.completed(wait=True) == []
        scheduler.submit(5)
        assert sizes(scheduler, wait=False) == []  # the first batches wait for one another again
        assert all_batches(scheduler, wait=True) == [[5]]


def test_several_schedulers_share_an_executor() -> None:
    with ThreadPoolExecutor(2) as executor:
        schedulers = [make_scheduler(executor, 2, 3) for _ in range(4)]
        n_before = []
        for n, scheduler in enumerate(schedulers):
            submit_range(scheduler, 5 + n)
            n_before.append(sum(sizes(scheduler, wait=False)))
        schedulers[0].cancel()
        assert sizes(schedulers[0], wait=True) == []
        n_after = [sum(sizes(scheduler, wait=True)) for scheduler in schedulers]
        assert [n_before[n] + n_after[n] for n in (1, 2, 3)] == [6, 7, 8]
