from __future__ import annotations

from transforms.checkpoint.pending_spans import OpenSpans
from transforms.checkpoint.spans import Begun, Ended, SpanResult
from transforms.core.types import AudioSource, Failure, RecordingPart, WindowTranscript


def window(index: int) -> WindowTranscript:
    return WindowTranscript("id", index, 0.0, 1.0, (), "en")


def failure(message: str) -> Failure:
    return Failure("id", "u", "transcribe", "model_error", message)


PART = RecordingPart(AudioSource("id", "u"), n_windows=2)


def test_a_span_is_done_when_it_was_read_to_its_end_and_all_was_said_of_its_windows() -> None:
    spans = OpenSpans()
    spans.begin("a", Begun("key"))
    spans.wait("a")
    spans.wait("a")
    spans.came("a", window(1))
    spans.add("a", PART)
    assert spans.take_done() == []
    assert spans.end("a", Ended(90, 2)) is False
    assert spans.take_done() == []
    assert spans.open_keys() == ["key"]
    spans.came("a", window(0))
    assert spans.take_done() == [SpanResult("key", (0, 0), 90, 2, (window(0), window(1)), (PART,))]
    assert spans.take_done() == spans.open_keys() == []


def test_what_comes_out_does_not_depend_on_the_order_in_which_it_came() -> None:
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        spans = OpenSpans()
        spans.begin("a", Begun("key/0/60", (0, 60), 2, alone=True))
        for index in order:
            spans.wait("a")
            spans.count("a", f"count{index}")
            spans.add("a", failure(str(index)))
            spans.came("a", window(index))
        assert spans.end("a", Ended(90, 2)) is True
        results += spans.take_done()
    assert repr(results[0]) == repr(results[1])
    assert results[0].counts == {"count0": 1, "count1": 1, "count2": 1}
    assert (results[0].place, results[0].attempt) == ((0, 60), 2)


def test_a_window_of_which_nothing_can_be_said_is_waited_for_no_more() -> None:
    spans = OpenSpans()
    spans.begin("a", Begun("key"))
    spans.wait("a")
    spans.add("a", failure("x"))
    spans.count("a", "windows", 0)
    spans.came("a", None)
    spans.end("a", Ended())
    assert spans.take_done() == [SpanResult("key", failures=(failure("x"),))]


def test_a_recording_may_be_under_way_twice() -> None:
    spans = OpenSpans()
    for name in "ab":
        spans.begin(name, Begun("key"))
        spans.wait(name)
    for name in "ab":
        spans.came(name, window(0))
        spans.end(name, Ended())
    assert [result.key for result in spans.take_done()] == ["key", "key"]
