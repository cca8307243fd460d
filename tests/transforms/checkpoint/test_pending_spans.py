from __future__ import annotations

from dataclasses import replace

from transforms.checkpoint.pending_spans import PendingSpans
from transforms.checkpoint.spans import FIRST_SPAN, SpanEnded, SpanResult, SpanStart, SpanStarted
from transforms.core.types import AudioSource, Failure, RecordingPart, Untranscribed, WindowTranscript


def window(index: int) -> WindowTranscript:
    return WindowTranscript("id", index, 0.0, 1.0, (), "en")


def failure(message: str) -> Failure:
    return Failure("id", "u", "transcribe", "model_error", message)


PART = RecordingPart(AudioSource("id", "u"), n_windows=2)


def test_a_span_is_finished_when_it_was_read_to_its_end_and_all_its_windows_are_finished() -> None:
    spans = PendingSpans()
    spans.start("a", SpanStarted("key"))
    spans.add_window("a")
    spans.add_window("a")
    spans.finish_window("a", window(1))
    spans.add("a", PART)
    assert spans.pop_finished() == []
    assert spans.end("a", SpanEnded(90, 2)) is False
    assert spans.pop_finished() == []
    assert spans.keys() == ["key"]
    spans.finish_window("a", window(0))
    assert spans.pop_finished() == [SpanResult("key", FIRST_SPAN, 90, 2, (window(0), window(1)), (PART,))]
    assert spans.pop_finished() == spans.keys() == []


def test_the_result_does_not_depend_on_the_order_in_which_windows_finish() -> None:
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        spans = PendingSpans()
        spans.start("a", SpanStarted("key/0/60", SpanStart(0, 60), 2, exclusive=True))
        spans.add("a", failure("of reading"))
        for _ in order:
            spans.add_window("a")
        for index in order:
            spans.finish_window("a", window(index), [failure(str(index))], {f"count{index}": 1})
        assert spans.end("a", SpanEnded(90, 2)) is True
        results += spans.pop_finished()
    assert repr(results[0]) == repr(results[1])
    assert results[0].counts == {"count0": 1, "count1": 1, "count2": 1}
    assert (results[0].start, results[0].attempt) == ((0, 60), 2)
    assert [one.message for one in results[0].failures] == ["0", "1", "2", "of reading"]


def test_counts_of_windows_are_added_up_and_zeros_left_out() -> None:
    spans = PendingSpans()
    spans.start("a", SpanStarted("key"))
    for index in range(2):
        spans.add_window("a")
        spans.finish_window("a", window(index), counts={"windows": 1, "failed_loop": 2, "remainders": 0})
    spans.end("a", SpanEnded())
    (result,) = spans.pop_finished()
    assert list(result.counts.items()) == [("failed_loop", 4), ("windows", 2)]


def test_a_window_that_could_not_be_decoded_is_finished_too() -> None:
    spans = PendingSpans()
    spans.start("a", SpanStarted("key"))
    spans.add_window("a")
    failed = replace(window(0), language="", untranscribed=(Untranscribed(0.0, 30.0, "failed"),))
    spans.finish_window("a", failed, [failure("x")], {"windows": 0})
    spans.end("a", SpanEnded())
    assert spans.pop_finished() == [SpanResult("key", windows=(failed,), failures=(failure("x"),))]


def test_a_recording_may_be_pending_twice() -> None:
    spans = PendingSpans()
    for name in "ab":
        spans.start(name, SpanStarted("key"))
        spans.add_window(name)
    assert spans.keys() == ["key"]
    for name in "ab":
        spans.finish_window(name, window(0))
        spans.end(name, SpanEnded())
    assert [result.key for result in spans.pop_finished()] == ["key", "key"]
