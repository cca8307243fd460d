from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Event, Thread

import pytest

from transforms.checkpoint.isolation import SharedExclusiveLock


class Holder:
    """A holder of the lock: any object that can be referenced weakly."""


def no_check() -> None:
    pass


def acquire_on_a_thread(
    lock: SharedExclusiveLock, holder: Holder, *, exclusive: bool
) -> tuple[Thread, Callable[[], bool]]:
    """A thread that waits for the lock, and whether it holds it."""
    waits, acquired = Event(), Event()

    def acquire() -> None:
        lock.acquire(holder, exclusive=exclusive, check=waits.set)
        acquired.set()

    thread = Thread(target=acquire, daemon=True)
    thread.start()
    assert waits.wait(30)
    return thread, acquired.is_set


def test_many_share_the_lock_or_one_holds_it_exclusively() -> None:
    lock, first, second, alone, last = SharedExclusiveLock(), Holder(), Holder(), Holder(), Holder()
    for holder in (first, second, first):
        lock.acquire(holder, exclusive=False, check=no_check)
    assert not lock.wanted
    exclusive, has_exclusive = acquire_on_a_thread(lock, alone, exclusive=True)
    assert lock.wanted
    shared, has_shared = acquire_on_a_thread(lock, last, exclusive=False)
    lock.acquire(first, exclusive=False, check=no_check)  # a shared holder does not wait for itself
    lock.release(first)
    assert not has_exclusive()
    lock.release(second)
    exclusive.join(30)
    assert has_exclusive()
    assert not has_shared()
    assert not lock.wanted
    lock.release(alone)
    shared.join(30)
    assert has_shared()


def test_an_exception_of_the_check_ends_waiting_and_blocks_no_other_holder() -> None:
    lock, first, alone = SharedExclusiveLock(), Holder(), Holder()
    lock.acquire(first, exclusive=False, check=no_check)

    def stop() -> None:
        raise InterruptedError("stop")

    with pytest.raises(InterruptedError):
        lock.acquire(alone, exclusive=True, check=stop)
    assert not lock.wanted
    lock.acquire(alone, exclusive=False, check=stop)


def test_a_holder_that_was_garbage_collected_holds_nothing() -> None:
    lock, collected, alone = SharedExclusiveLock(), Holder(), Holder()
    lock.acquire(collected, exclusive=False, check=no_check)
    del collected
    gc.collect()
    lock.acquire(alone, exclusive=True, check=pytest.fail)


def test_releasing_a_lock_that_is_not_held_does_nothing() -> None:
    lock, first, second = SharedExclusiveLock(), Holder(), Holder()
    lock.acquire(first, exclusive=True, check=no_check)
    lock.release(second)
    _, has_shared = acquire_on_a_thread(lock, second, exclusive=False)
    assert not has_shared()
    lock.release(first)
