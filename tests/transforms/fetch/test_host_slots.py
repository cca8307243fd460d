from __future__ import annotations

import threading

import pytest

from tests.support.stops import OwnStopError, StopSoon
from transforms.core.errors import AudioError
from transforms.fetch.host_slots import UNRESPONSIVE_AFTER, HostSlots


def test_slots_are_limited_per_host() -> None:
    slots = HostSlots()
    held, released = threading.Event(), threading.Event()

    def hold_until_released() -> None:
        with slots.slot("a", 1, 0):
            held.set()
            released.wait(10)

    thread = threading.Thread(target=hold_until_released)
    thread.start()
    assert held.wait(10)
    with slots.slot("b", 1, 0):
        pass
    with (
        pytest.raises(AudioError, match="timeout: 1 other downloads from a") as caught,
        slots.slot("a", 1, 0),
    ):
        pass
    assert caught.value.retryable
    with slots.slot("a", 2, 0):
        pass
    threading.Timer(0.05, released.set).start()
    with slots.slot("a", 1, 10):  # waits for the other thread
        thread.join()
    assert slots._taken == {}


def test_slot_is_released_after_an_error() -> None:
    slots = HostSlots()
    with pytest.raises(KeyError), slots.slot("a", 1, 0):
        raise KeyError
    with slots.slot("a", 1, 0):
        pass


def test_host_is_unresponsive_after_consecutive_downloads_without_an_answer() -> None:
    slots = HostSlots()
    for _ in range(UNRESPONSIVE_AFTER):
        assert not slots.is_unresponsive("a")
        slots.record_no_answer("a")
    assert slots.is_unresponsive("a")
    assert not slots.is_unresponsive("b")


def test_any_answer_makes_a_host_responsive() -> None:
    slots = HostSlots()
    for _ in range(UNRESPONSIVE_AFTER + 1):
        slots.record_no_answer("a")
    slots.record_answer("a")
    slots.record_no_answer("a")
    assert not slots.is_unresponsive("a")


def test_a_wait_for_a_slot_calls_the_check_of_the_download() -> None:
    slots = HostSlots()
    with (
        slots.slot("a", 1, 0),
        StopSoon() as check,
        pytest.raises(OwnStopError),
        slots.slot("a", 1, 60, check),
    ):
        pass
    assert slots._taken == {}
