"""Clients of a `BatchScheduler` for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from tests.support.executors import DeferredExecutor
from transforms.recognition.batching import BatchClient, BatchScheduler

TIMEOUT_S = 30.0  # events that are waited for come at once, or never
Batch = tuple[int, ...]


class CallError(Exception):
    pass


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
