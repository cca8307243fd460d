from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Event, Thread

import pytest

from transforms.checkpoint.isolation import Room


class Worker:
    """Somebody who can be in a room."""


def nothing() -> None:
    pass


def entering(room: Room, member: Worker, *, alone: bool) -> tuple[Thread, Callable[[], bool]]:
    """Another thread that enters, and whether it is in."""
    waits, entered = Event(), Event()

    def enter() -> None:
        room.enter(member, alone=alone, check=waits.set)
        entered.set()

    thread = Thread(target=enter, daemon=True)
    thread.start()
    assert waits.wait(30)
    return thread, entered.is_set


def test_many_are_in_it_together_and_one_is_alone() -> None:
    room, first, second, lonely, last = Room(), Worker(), Worker(), Worker(), Worker()
    for member in (first, second, first):
        room.enter(member, alone=False, check=nothing)
    assert not room.wanted
    alone, is_alone = entering(room, lonely, alone=True)
    assert room.wanted
    later, is_later = entering(room, last, alone=False)
    room.enter(first, alone=False, check=nothing)  # who is in it is not held up
    room.leave(first)
    assert not is_alone()
    room.leave(second)
    alone.join(30)
    assert is_alone()
    assert not is_later()
    assert not room.wanted
    room.leave(lonely)
    later.join(30)
    assert is_later()


def test_who_waits_hears_of_a_stop_and_holds_up_nobody_then() -> None:
    room, first, lonely = Room(), Worker(), Worker()
    room.enter(first, alone=False, check=nothing)

    def stop() -> None:
        raise InterruptedError("stop")

    with pytest.raises(InterruptedError):
        room.enter(lonely, alone=True, check=stop)
    assert not room.wanted
    room.enter(lonely, alone=False, check=stop)


def test_who_is_forgotten_is_in_it_no_more() -> None:
    room, forgotten, lonely = Room(), Worker(), Worker()
    room.enter(forgotten, alone=False, check=nothing)
    del forgotten
    gc.collect()
    room.enter(lonely, alone=True, check=pytest.fail)
