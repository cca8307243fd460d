from __future__ import annotations

from dataclasses import replace

import pytest

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Segment, WindowResult
from tests.support.fake_client import FakeClient, finished, texts
from tests.support.fake_transcribers import (
    FAILING,
    SOURCE,
    FakeTranscriber,
    StoppingTranscriber,
    TimingTranscriber,
    UnsureTranscriber,
    loud_window,
    window,
)
from transforms.core.types import Untranscribed
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.lanes import ModelError
from transforms.recognition.recognizer import Recognizer, finish, next_step
from transforms.recognition.window_decode import WindowDecode

POLICY = FallbackPolicy()
ALL_FILTERS = tuple(FILTERS)


def new_recognizer(client: FakeClient, policy: FallbackPolicy = POLICY) -> Recognizer:
    return Recognizer(client, DecodingOptions(), policy, ALL_FILTERS)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_window_has_its_transcript_in_whatever_order_answers_come(reverse: bool) -> None:
    recognizer = new_recognizer(FakeClient(FakeTranscriber(), reverse=reverse))
    for index in range(5):
        recognizer.submit(SOURCE, window(index), f"key {index}")
    assert texts(finished(recognizer)) == {f"key {index}": [f" {index}"] for index in range(5)}
    assert finished(recognizer) == []


def test_the_result_does_not_depend_on_the_order_of_answers() -> None:
    outcomes = []
    for reverse in (False, True):
        recognizer = new_recognizer(FakeClient(StoppingTranscriber(), reverse=reverse))
        recognizer.submit(SOURCE, loud_window(3.5), "a")
        recognizer.submit(SOURCE, loud_window(2.5), "b")
        recognizer.submit(SOURCE, loud_window(3.0, failing_at_s=1.0), "c")
        outcomes.append(sorted(finished(recognizer), key=lambda one: one.key))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("word_times", [(8_000, 9_000), (0, 24_000), (20_000, 28_000), (0, 0)])
def test_word_times_change_neither_the_text_nor_where_the_tail_begins(word_times: tuple[int, int]) -> None:
    seen = []
    for word_timestamps in (False, True):
        transcriber = TimingTranscriber(word_times)
        decoding = DecodingOptions(word_timestamps=word_timestamps)
        recognizer = Recognizer(FakeClient(transcriber), decoding, POLICY, ALL_FILTERS)
        recognizer.submit(SOURCE, loud_window(3.5), "a")
        (outcome,) = finished(recognizer)
        seen.append((texts([outcome]), transcriber.sizes, outcome.counts))
        for segment in outcome.transcript.segments:
            assert bool(segment.words) is word_timestamps
    assert seen[0] == seen[1]
    assert seen[0][1] == [56_000, 40_000, 24_000]
    assert seen[0][0] == {"a": [f" one two three four five six {size}" for size in seen[0][1]]}


def test_windows_are_finished_while_others_are_submitted() -> None:
    recognizer = new_recognizer(FakeClient(FakeTranscriber()))
    recognizer.submit(SOURCE, window(1), "a")
    assert texts(finished(recognizer, wait=False)) == {"a": [" 1"]}
    recognizer.submit(SOURCE, window(2), "b")
    assert texts(finished(recognizer, wait=True)) == {"b": [" 2"]}


def test_without_waiting_it_returns_no_more_than_the_model_has_completed() -> None:
    recognizer = new_recognizer(FakeClient(FakeTranscriber(), needs_wait=True))
    recognizer.submit(SOURCE, window(1), "a")
    assert list(recognizer.completed(wait=False)) == []
    assert texts(finished(recognizer)) == {"a": [" 1"]}


def test_windows_of_the_same_samples_keep_their_keys() -> None:
    recognizer = new_recognizer(FakeClient(FakeTranscriber()))
    same = window(7)
    for key in "abc":
        recognizer.submit(SOURCE, same, key)
    assert texts(finished(recognizer)) == {key: [" 7"] for key in "abc"}


def test_a_rejected_window_is_requested_again_with_a_priority_above_zero() -> None:
    client = FakeClient(UnsureTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, window(2, first=-0.1))
    (outcome,) = finished(recognizer)
    assert client.submitted == [(0.0, 0), (0.2, 1), (0.4, 2)]
    (segment,) = outcome.transcript.segments
    assert (segment.text, segment.temperature, segment.fallback) == (" at 0.4", 0.4, "avg_logprob")
    assert +outcome.counts == {  # type: ignore[operator]  # it is a Counter
        "failed_avg_logprob": 2, "windows": 1, "windows_fallback": 1,
    }  # fmt: skip


def test_with_one_temperature_there_is_no_fallback() -> None:
    client = FakeClient(UnsureTranscriber())
    recognizer = new_recognizer(client, FallbackPolicy(temperature=(0.0,)))
    recognizer.submit(SOURCE, window(2, first=-0.1))
    (outcome,) = finished(recognizer)
    assert outcome.transcript.segments[0].fallback is None
    assert client.submitted == [(0.0, 0)]


def test_a_tail_is_decoded_from_where_the_model_stopped_as_a_new_request() -> None:
    client = FakeClient(StoppingTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, loud_window(3.5))
    (outcome,) = finished(recognizer)
    assert [(s.start_s, s.text) for s in outcome.transcript.segments] == [
        (0.0, " 56000"), (1.0, " 40000"), (2.0, " 24000"),
    ]  # fmt: skip
    assert client.submitted == [(0.0, 0)] * 3
    assert outcome.counts["remainders"] == 2


def test_a_tail_that_fails_keeps_the_text_before_it() -> None:
    recognizer = new_recognizer(FakeClient(StoppingTranscriber()))
    recognizer.submit(SOURCE, loud_window(3.0, failing_at_s=1.0))
    (outcome,) = finished(recognizer)
    assert [segment.text for segment in outcome.transcript.segments] == [" 48000"]
    (failure,) = outcome.failures
    assert "seconds 1.00 to 3.00 are missing" in failure.message
    assert outcome.transcript.untranscribed == (Untranscribed(1.0, 3.0, "failed"),)


def test_a_window_that_fails_has_no_text_and_costs_no_other() -> None:
    recognizer = new_recognizer(FakeClient(FakeTranscriber()))
    recognizer.submit(SOURCE, window(1, FAILING), "bad")
    recognizer.submit(SOURCE, window(2), "good")
    bad, good = finished(recognizer)
    assert bad.key == "bad"
    assert not bad.transcript.is_decoded
    assert bad.transcript.untranscribed == (Untranscribed(25.0, 26.0, "failed"),)
    assert [failure.kind for failure in bad.failures] == ["model_error"]
    assert "windows" not in bad.counts
    assert texts([good]) == {"good": [" 2"]}


def test_closing_the_iterator_drops_all_windows() -> None:
    client = FakeClient(FakeTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, window(1))
    windows = recognizer.completed(wait=True)
    assert len(next(windows)) == 1
    recognizer.submit(SOURCE, window(2))
    windows.close()  # type: ignore[attr-defined]
    assert client.n_cancelled == 1
    assert finished(recognizer) == []


def test_an_exception_of_the_model_drops_all_windows() -> None:
    class FailingClient(FakeClient):
        def completed(self, *, wait: bool) -> list[tuple[Request, WindowResult | Exception]]:
            if self.requests:
                raise ModelError("out of memory")
            return []

    client = FailingClient(FakeTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, window(1))
    with pytest.raises(ModelError):
        finished(recognizer)
    assert client.n_cancelled == 1
    assert finished(recognizer) == []


def test_an_exhausted_iterator_cancels_nothing() -> None:
    client = FakeClient(FakeTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, window(1))
    assert len(finished(recognizer)) == 1
    assert client.n_cancelled == 0


def test_after_cancel_windows_are_recognised_as_usual() -> None:
    client = FakeClient(FakeTranscriber())
    recognizer = new_recognizer(client)
    recognizer.submit(SOURCE, window(1))
    recognizer.cancel()
    assert finished(recognizer) == []
    recognizer.submit(SOURCE, window(2), "b")
    assert texts(finished(recognizer)) == {"b": [" 2"]}


def test_the_next_step_adds_a_result_or_the_failure_of_the_window_decoded() -> None:
    decode = WindowDecode(SOURCE, window(2))
    result = WindowResult((Segment(0, 16_000, " a"),), "en")
    assert next_step(decode, result, POLICY) == decode.with_result(result, POLICY)
    failed = next_step(decode, ValueError("poisoned"), POLICY)
    assert (failed.is_finished, failed.passes) == (True, ())
    assert "seconds 50.00 to 51.00 are missing" in failed.failures[0].message


def test_the_failure_of_a_tail_names_the_seconds_of_the_tail() -> None:
    result = WindowResult((Segment(0, 16_000, " a"),), "en")
    tail = WindowDecode(SOURCE, loud_window(3.0)).with_result(result, POLICY)
    assert not tail.is_finished
    failed = next_step(tail, ValueError("poisoned"), POLICY)
    assert "seconds 1.00 to 3.00 are missing" in failed.failures[0].message


def test_filters_remove_segments_of_a_finished_decode_and_are_counted() -> None:
    silent = replace(window(2), speech=((0, 1_000),))
    result = WindowResult((Segment(8_000, 16_000, " thanks"),), "en")
    decode = WindowDecode(SOURCE, silent).with_result(result, POLICY)
    for filters, n_segments in ((("no_speech",), 0), ((), 1)):
        outcome = finish("key", decode, filters)
        assert len(outcome.transcript.segments) == n_segments
        assert outcome.counts.get("filtered_no_speech", 0) == 1 - n_segments
        assert outcome.counts["windows_without_text"] == 1 - n_segments
        lost = (Untranscribed(50.5, 51.0, "no_speech", " thanks"),) if filters else ()
        assert outcome.transcript.untranscribed == lost


@pytest.mark.parametrize(("repeated", "n_copies"), [(True, 1), (False, 12)])
def test_only_a_text_for_whose_repetition_decoding_was_stopped_is_shortened(
    repeated: bool, n_copies: int
) -> None:
    result = WindowResult(
        (Segment(0, 16_000, 12 * " so on"),), "en", repeated=repeated, compression_ratio=9.0
    )
    decode = WindowDecode(SOURCE, window(2)).with_result(result, FallbackPolicy(temperature=(0.0,)))
    outcome = finish("key", decode, ("repeats",))
    assert [segment.text for segment in outcome.transcript.segments] == [n_copies * " so on"]
    deleted = [one.text for one in outcome.transcript.untranscribed]
    assert deleted == [11 * " so on"] * repeated
    assert outcome.counts["filtered_repeats"] == repeated


def test_segments_of_a_finished_decode_are_cut_to_the_speech_in_them() -> None:
    with_speech = replace(window(2), speech=((4_000, 12_000),))
    result = WindowResult((Segment(0, 16_000, " a"),), "en")
    decode = WindowDecode(SOURCE, with_speech).with_result(result, POLICY)
    outcome = finish("key", decode, ())
    assert [(s.start_s, s.end_s) for s in outcome.transcript.segments] == [(50.25, 50.75)]


class SkippingTranscriber(FakeTranscriber):
    """Writes the first second and the last of what is longer than two seconds, and a shorter piece whole.

    Args:
        is_sure: whether it is sure of pieces.
    """

    def __init__(self, *, is_sure: bool = True) -> None:
        super().__init__()
        self.is_sure = is_sure

    def decode(self, request: Request) -> WindowResult:
        stop = request.samples.size
        if stop <= 2 * SAMPLE_RATE:
            avg_logprob = -0.2 if self.is_sure else -2.0
            whole = Segment(0, stop, f" {stop}")
            return WindowResult((whole,), request.language or "en", avg_logprob=avg_logprob)
        ends = Segment(0, SAMPLE_RATE, " first"), Segment(stop - SAMPLE_RATE, stop, " last")
        return WindowResult(ends, request.language or "en")


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("is_sure", [True, False])
def test_speech_that_the_model_skips_is_decoded_by_itself_or_listed(
    *, is_sure: bool, batch_size: int
) -> None:
    client = FakeClient(SkippingTranscriber(is_sure=is_sure))
    client.transcriber.batch_size = batch_size
    recognizer = new_recognizer(client)
    speech = ((0, 16_000), (16_000, 40_000), (40_000, 56_000))
    recognizer.submit(SOURCE, replace(loud_window(3.5), speech=speech), "a")
    recognizer.submit(SOURCE, replace(loud_window(3.5), speech=((0, 56_000),)), "b")
    hole, long = sorted(finished(recognizer), key=lambda one: one.key)
    skipped = [(1.0, 2.5, " 24000")] if is_sure else []
    assert [(s.start_s, s.end_s, s.text) for s in hole.transcript.segments] == [
        (0.0, 1.0, " first"),
        *skipped,
        (2.5, 3.5, " last"),
    ]
    for one in (hole, long):
        lost = () if is_sure else (Untranscribed(1.0, 2.5, "no_text", " 24000"),)
        assert one.transcript.untranscribed == lost
    assert (hole.counts["pieces_hole"], hole.counts.get("holes_filled", 0)) == (1, int(is_sure))


class PieceFailingTranscriber(SkippingTranscriber):
    """Fails on the pieces of a window."""

    def decode(self, request: Request) -> WindowResult:
        if request.samples.size < 3 * SAMPLE_RATE:
            raise ValueError("poisoned")
        return super().decode(request)


def test_a_piece_that_the_model_fails_on_is_missing_only_if_it_is_not_decoded_otherwise() -> None:
    recognizer = new_recognizer(FakeClient(PieceFailingTranscriber(is_sure=True)))
    speech = ((0, 16_000), (16_000, 40_000), (40_000, 56_000))
    recognizer.submit(SOURCE, replace(loud_window(3.5), speech=speech), "a")
    (hole,) = finished(recognizer)
    assert hole.transcript.untranscribed == (Untranscribed(1.0, 2.5, "failed"),)
    assert "seconds 1.00 to 2.50 are missing" in hole.failures[0].message
    long = replace(loud_window(12), speech=((0, 96_000), (96_000, 192_000)))
    whole = WindowResult((Segment(0, 192_000, " a"),), "en", {"en": 0.6})
    detecting = next_step(WindowDecode(SOURCE, long), whole, POLICY)  # unsure: each piece is decoded
    assert "could not be decoded once more" in next_step(detecting, ValueError(), POLICY).failures[0].message
