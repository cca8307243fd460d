from __future__ import annotations

from dataclasses import replace

from model.interface import Segment, WindowResult
from tests.support.fake_transcribers import SOURCE, window
from transforms.recognition.decode_passes import DecodePass
from transforms.recognition.window_decode import WindowDecode
from transforms.recognition.window_order import MAX_WAITING, KeyedDecode, WindowOrder


def decode_of(section: int, recording: str = "a") -> WindowDecode:
    return WindowDecode(SOURCE, replace(window(0), audio_id=recording, section=section))


def passes(text: str) -> list[DecodePass]:
    return [DecodePass(0, WindowResult((Segment(0, 1, text, (1, 2)),), "en"))]


def described(found: KeyedDecode | None) -> tuple[str, list[str]] | None:
    if found is None:
        return None
    key, decode = found
    assert decode.previous is not None
    return key, [segment.text for segment in decode.previous.segments]


def test_a_window_waits_for_the_one_before_it_and_is_given_its_text() -> None:
    order = WindowOrder()
    first = order.added("1", decode_of(0))
    assert described(first) == ("1", [])
    assert order.added("2", decode_of(0)) is None
    assert order.added("3", decode_of(0)) is None
    second = order.after(decode_of(0), passes("one"))
    assert described(second) == ("2", ["one"])
    assert described(order.after(decode_of(0), passes("two"))) == ("3", ["one", "two"])
    assert order.after(decode_of(0), passes("three")) is None
    assert described(order.added("4", decode_of(0))) == ("4", ["one", "two", "three"])


def test_sections_and_recordings_do_not_wait_for_each_other() -> None:
    order = WindowOrder()
    places = [(0, "a"), (1, "a"), (0, "b")]
    assert [described(order.added("x", decode_of(*place))) for place in places] == [("x", [])] * 3
    assert order.added("y", decode_of(0, "b")) is None
    assert order.after(decode_of(0, "a"), passes("of another")) is None
    assert described(order.after(decode_of(0, "b"), passes("own"))) == ("y", ["own"])


def test_behind_a_window_that_failed_the_text_begins_anew() -> None:
    order = WindowOrder()
    order.added("1", decode_of(0))
    order.added("2", decode_of(0))
    order.added("3", decode_of(0))
    order.after(decode_of(0), passes("one"))
    assert described(order.after(decode_of(0), ())) == ("3", [])


def test_it_is_full_while_many_windows_wait() -> None:
    order = WindowOrder()
    for _ in range(MAX_WAITING + 1):
        assert not order.is_full
        order.added("x", decode_of(0))
    assert order.is_full
    order.after(decode_of(0), passes("text"))
    assert not order.is_full


def test_sections_that_were_read_and_decoded_are_forgotten() -> None:
    order = WindowOrder()
    for section in range(100):
        order.added("1", decode_of(section))
        order.added("2", decode_of(section))
        order.after(decode_of(section), passes("text"))
        if section % 2:
            order.after(decode_of(section), passes("text"))  # before the next one is read
    for section in range(0, 100, 2):
        order.after(decode_of(section), passes("text"))
    assert len(order._sections) <= 1
