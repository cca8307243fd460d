from __future__ import annotations

from transforms.open_spans import OpenSpans
from transforms.types import AudioSource, Failure, Recording, WindowTranscript
from transforms.units import Begun, SpanResult


def window(index: int) -> WindowTranscript:
    return WindowTranscript("id", index, 0.0, 1.0, (), "en")


def failure(message: str) -> Failure:
    return Failure("id", "u", "transcribe", "model_error", message)


RECORDING = Recording(AudioSource("id", "u"), 2.0, 2)


def test_a_span_is_done_when_it_was_read_to_its_end_and_all_was_said_of_its_windows() -> None:
    spans = OpenSpans()
    spans.begin("a", Begun("key", 1))
    spans.wait("a")
    spans.wait("a")
    spans.came("a", window(1))
    spans.add("a", RECORDING)
    assert spans.take_done() == []
    assert spans.end("a") is False
    assert spans.take_done() == []
    assert spans.open_keys() == ["key"]
    spans.came("a", window(0))
    assert spans.take_done() == [SpanResult("key", (window(0), window(1)), (RECORDING,))]
    assert spans.take_done() == spans.open_keys() == []


def test_what_comes_out_does_not_depend_on_the_order_in_which_it_came() -> None:
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        spans = OpenSpans()
        spans.begin("a", Begun("key", 2, alone=True))
        for index in order:
            spans.wait("a")
            spans.count("a", f"count{index}")
            spans.add("a", failure(str(index)))
            spans.came("a", window(index))
        assert spans.end("a") is True
        results += spans.take_done()
    assert repr(results[0]) == repr(results[1])
    assert results[0].counts == {"count0": 1, "count1": 1, "count2": 1}
    assert results[0].attempt == 2


def test_a_window_of_which_nothing_can_be_said_is_waited_for_no_more() -> None:
    spans = OpenSpans()
    spans.begin("a", Begun("key", 1))
    spans.wait("a")
    spans.add("a", failure("x"))
    spans.count("a", "windows", 0)
    spans.came("a", None)
    spans.end("a")
    assert spans.take_done() == [SpanResult("key", failures=(failure("x"),))]


def test_a_recording_may_be_under_way_twice() -> None:
    spans = OpenSpans()
    for name in "ab":
        spans.begin(name, Begun("key", 1))
        spans.wait(name)
    for name in "ab":
        spans.came(name, window(0))
        spans.end(name)
    assert [result.key for result in spans.take_done()] == ["key", "key"]
