from __future__ import annotations

from dataclasses import replace

import pytest

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Segment, WindowResult
from tests.support.decoded_windows import NOISE, SPEECH, result_until, sound, window
from transforms.core.types import AudioSource, Failure
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.pieces import Piece, PieceKind
from transforms.recognition.window_decode import (
    MAX_PASSES,
    DroppedRange,
    WindowDecode,
)

SOURCE = AudioSource("id", "u")
ONCE = FallbackPolicy(temperature=(0.0,))
TWICE = FallbackPolicy(temperature=(0.0, 0.4))
FAILURE = Failure("id", "u", "transcribe", "model_error", "the model raised")


def new_decode() -> WindowDecode:
    return WindowDecode(SOURCE, window())


def request_of(
    decode: WindowDecode, policy: FallbackPolicy, decoding: DecodingOptions | None = None
) -> Request:
    return decode.request(decoding or DecodingOptions(), policy)


def test_each_pass_starts_where_the_last_one_ended_in_the_language_of_the_first() -> None:
    decode = new_decode()
    assert decode.next_window is decode.window
    decode = decode.with_result(result_until(10), ONCE)
    assert decode.start == 10 * SAMPLE_RATE
    tail = decode.next_window
    assert tail.stretches == ((1_200_000 + 160_000, 1_200_000 + 480_000),)
    assert (tail.samples.size, tail.n_unshared) == (320_000, 320_000)
    assert tail.language == "en"
    decode = decode.with_result(result_until(2), ONCE)
    assert decode.start == 12 * SAMPLE_RATE
    decode = decode.with_result(result_until(18), ONCE)
    assert decode.is_finished
    assert [one.offset for one in decode.passes] == [0, 160_000, 192_000]
    assert decode.counts == ("remainders", "remainders")


def test_a_tail_is_decoded_at_a_higher_temperature_and_dropped_when_it_is_never_sure() -> None:
    first = new_decode().with_result(result_until(10), TWICE)
    rejected = first.with_result(result_until(3, avg_logprob=-1.02), TWICE)
    assert request_of(rejected, TWICE).temperature == 0.4
    accepted = rejected.with_result(result_until(20), TWICE)
    assert [one.offset for one in accepted.passes] == [0, 160_000]
    assert accepted.counts == ("remainders", "failed_avg_logprob")
    dropped = rejected.with_result(result_until(3, avg_logprob=-1.02), TWICE)
    assert (len(dropped.passes), dropped.is_finished) == (1, True)
    assert dropped.counts == ("remainders", "failed_avg_logprob", "remainders_dropped")
    silent = first.with_result(result_until(3, avg_logprob=-1.02, no_speech_prob=0.9), TWICE)
    assert silent.is_finished
    assert silent.counts == ("remainders", "remainders_dropped")
    for one in (dropped, silent):
        assert one.dropped == (DroppedRange(160_000, 480_000, "remainder", " text"),)
    assert accepted.dropped == ()


def test_a_rejected_tail_without_text_is_listed_if_vad_found_speech_in_it() -> None:
    empty = WindowResult((), "en", avg_logprob=-1.5)
    for speech, n_listed in ((None, 0), (((0, 480_000),), 1)):
        decode = WindowDecode(SOURCE, replace(window(), speech=speech)).with_result(result_until(10), ONCE)
        assert len(decode.with_result(empty, ONCE).dropped) == n_listed


def test_a_tail_that_only_fails_the_stricter_thresholds_is_counted_as_not_sure() -> None:
    first = new_decode().with_result(result_until(10), TWICE)
    rejected = first.with_result(result_until(3, no_speech_prob=0.9), TWICE)
    assert rejected.counts == ("remainders", "failed_not_sure")


def test_the_first_pass_is_kept_whatever_its_scores_and_later_ones_only_when_sure() -> None:
    decode = new_decode().with_result(result_until(10, avg_logprob=-2), ONCE)
    assert len(decode.passes) == 1
    decode = decode.with_result(result_until(3, no_speech_prob=0.9), ONCE)
    assert len(decode.passes) == 1
    assert decode.is_finished


def test_text_that_is_unlikely_where_no_speech_is_likely_is_dropped() -> None:
    decode = new_decode().with_result(result_until(10, no_speech_prob=0.9, avg_logprob=-1.5), ONCE)
    assert decode.passes[0].result.segments == ()
    assert decode.is_finished
    assert decode.dropped == (DroppedRange(0, 160_000, "no_speech", " text"),)
    sure = new_decode().with_result(result_until(10, no_speech_prob=0.9, avg_logprob=-0.5), ONCE)
    assert sure.passes[0].result.segments != ()
    assert sure.dropped == ()


@pytest.mark.parametrize("segments", [(), (Segment(0, 160_000, " ..."),)])
def test_silence_without_text_is_listed_if_vad_found_speech_in_it(segments: tuple[Segment, ...]) -> None:
    silent = WindowResult(segments, "en", no_speech_prob=0.9, avg_logprob=-1.5)
    for speech, dropped in (
        (None, ()),
        (((0, 10_000),), ()),
        (((0, 200_000),), (DroppedRange(0, 480_000, "no_speech"),)),
    ):
        decode = WindowDecode(SOURCE, replace(window(), speech=speech)).with_result(silent, ONCE)
        assert decode.dropped == dropped


def test_there_is_a_most_number_of_passes() -> None:
    decode = WindowDecode(SOURCE, window(sound(*[(0.8, SPEECH), (0.2, NOISE)] * 30)))
    n_passes = 0
    while not decode.is_finished:
        decode = decode.with_result(result_until(1), ONCE)
        n_passes += 1
    assert n_passes == MAX_PASSES
    assert decode.dropped == (DroppedRange(MAX_PASSES * SAMPLE_RATE, 480_000, "remainder"),)


def test_a_rejected_window_is_requested_at_a_higher_temperature_in_the_language_detected() -> None:
    source = AudioSource("id", "u", prompt="Dear sir", hotwords="Guttenberg")
    decode = WindowDecode(source, window())
    first = request_of(decode, TWICE)
    assert (first.temperature, first.seed, first.language) == (0.0, 0, None)
    assert (first.prompt, first.hotwords) == ("Dear sir", "Guttenberg")
    rejected = replace(result_until(30, avg_logprob=-2.0), language="de", language_probs={"de": 0.6})
    decode = decode.with_result(rejected, TWICE)
    assert decode.passes == ()
    second = request_of(decode, TWICE)
    assert (second.temperature, second.language) == (0.4, "de")
    assert second.seed == TWICE.seed_of(window(), 0.4) != FallbackPolicy(seed=1).seed_of(window(), 0.4)
    decode = decode.with_result(replace(result_until(30), language="de", temperature=0.4), TWICE)
    (one,) = decode.passes
    assert (one.result.temperature, one.fallback, one.result.language_probs) == (
        0.4,
        "avg_logprob",
        {"de": 0.6},
    )
    assert decode.counts == ("failed_avg_logprob",)


def test_a_request_has_the_options_of_decoding_and_the_hints_of_its_recording_go_first() -> None:
    decoding = DecodingOptions(
        task="translate",
        return_timestamps=False,
        word_timestamps=True,
        initial_prompt="Dear sir",
        hotwords="Gutenberg",
    )
    plain = request_of(new_decode(), TWICE)
    assert (plain.task, plain.timestamps, plain.word_timestamps) == ("transcribe", True, False)
    assert (plain.prompt, plain.hotwords) == ("", "")
    request = request_of(new_decode(), TWICE, decoding)
    assert (request.task, request.timestamps, request.word_timestamps) == ("translate", False, True)
    assert (request.prompt, request.hotwords) == ("Dear sir", "Gutenberg")
    own = WindowDecode(AudioSource("id", "u", prompt="", hotwords="Caxton"), window())
    request = request_of(own, TWICE, decoding)
    assert (request.prompt, request.hotwords) == ("", "Caxton")


def test_when_all_temperatures_fail_the_likeliest_result_that_does_not_repeat_is_kept() -> None:
    decode = new_decode()
    decode = decode.with_result(result_until(30, avg_logprob=-0.1, compression_ratio=9.0), TWICE)
    decode = decode.with_result(result_until(30, avg_logprob=-1.7), TWICE)
    assert decode.is_finished
    assert decode.passes[0].result.avg_logprob == -1.7
    assert decode.passes[0].fallback == "compression_ratio"
    assert decode.counts == ("failed_compression_ratio",)  # the last attempt was accepted, as none is left


def test_a_window_that_passes_the_thresholds_is_decoded_once_and_counts_nothing() -> None:
    decode = new_decode().with_result(result_until(30), TWICE)
    assert decode.is_finished
    assert (decode.counts, decode.failures) == ((), ())


def test_an_exception_at_a_higher_temperature_keeps_the_best_attempt_before_it() -> None:
    decode = new_decode().with_result(result_until(30, avg_logprob=-1.5), TWICE)
    failed = decode.with_failure(FAILURE, TWICE)
    assert (failed.is_finished, failed.failures) == (True, (FAILURE,))
    (kept,) = failed.passes
    assert (kept.result.avg_logprob, kept.fallback) == (-1.5, None)
    assert failed.dropped == ()
    assert failed.counts == ("failed_avg_logprob",)


def test_an_exception_at_the_first_attempt_leaves_no_pass() -> None:
    failed = new_decode().with_failure(FAILURE, TWICE)
    assert (failed.is_finished, failed.passes, failed.failures) == (True, (), (FAILURE,))
    assert failed.dropped == (DroppedRange(0, 480_000, "failed"),)
    assert failed.counts == ()


def test_an_exception_in_a_tail_keeps_the_passes_before_it_and_drops_its_attempts() -> None:
    decode = new_decode().with_result(result_until(10), TWICE)
    for failing in (decode, decode.with_result(result_until(3, avg_logprob=-1.02), TWICE)):
        failed = failing.with_failure(FAILURE, TWICE)
        assert (failed.is_finished, failed.failures) == (True, (FAILURE,))
        assert (failed.passes, failed.attempts) == (decode.passes, ())
        assert failed.dropped == (DroppedRange(160_000, 480_000, "failed"),)


def test_the_tail_of_a_spliced_window_keeps_the_stretches_after_its_start() -> None:
    stretches = ((0, 100_000), (400_000, 500_000), (900_000, 1_180_000))
    spliced = replace(
        window(), stretches=stretches, speech=((0, 100_000), (100_000, 200_000), (200_000, 480_000))
    )
    tail = WindowDecode(SOURCE, spliced).with_result(result_until(10), ONCE).next_window
    assert tail.stretches == ((460_000, 500_000), (900_000, 1_180_000))
    assert tail.speech == ((0, 40_000), (40_000, 320_000))
    assert tail.samples.size == tail.n_unshared == 320_000


def test_speech_intervals_of_a_tail_count_from_its_start() -> None:
    decode = WindowDecode(SOURCE, replace(window(), speech=((0, 100_000), (150_000, 300_000))))
    tail = decode.with_result(result_until(10), ONCE).next_window
    assert tail.speech == ((0, 140_000),)


def short(result: WindowResult) -> WindowResult:
    """The same, of a network that was given less than 30 s."""
    return replace(result, is_short=True)


def test_a_sure_decoding_of_a_short_window_is_accepted() -> None:
    decode = new_decode()
    assert not request_of(decode, TWICE).full_window
    decode = decode.with_result(short(result_until(30)), TWICE)
    assert (decode.is_finished, decode.counts) == (True, ())


def test_a_doubtful_decoding_of_a_short_window_is_repeated_with_30_s_before_anything_is_decided() -> None:
    """It is no attempt: the same temperature follows, and the language is detected again."""
    doubtful = short(replace(result_until(30, avg_logprob=-2.0), language="de", language_probs={"de": 0.6}))
    decode = new_decode().with_result(doubtful, TWICE)
    assert (decode.attempts, decode.passes, decode.counts) == ((), (), ("short_windows_repeated",))
    request = request_of(decode, TWICE)
    assert (request.full_window, request.temperature, request.language) == (True, 0.0, None)
    assert request.samples is decode.window.samples
    accepted = decode.with_result(result_until(30), TWICE)
    assert [one.result for one in accepted.passes] == [result_until(30)]
    assert accepted.passes[0].fallback is None
    rejected = decode.with_result(result_until(30, avg_logprob=-2.0), TWICE)
    assert rejected.counts == ("short_windows_repeated", "failed_avg_logprob")
    request = request_of(rejected, TWICE)
    assert (request.full_window, request.temperature) == (True, 0.4)


def test_a_tail_is_repeated_with_30_s_too() -> None:
    decode = new_decode().with_result(result_until(10), TWICE)
    assert not request_of(decode, TWICE).full_window
    repeated = decode.with_result(short(result_until(3, no_speech_prob=0.9)), TWICE)
    assert repeated.counts == ("remainders", "short_windows_repeated")
    assert repeated.start == decode.start
    assert request_of(repeated, TWICE).full_window
    after = repeated.with_result(result_until(3), TWICE)
    assert [one.offset for one in after.passes] == [0, 160_000]
    assert not request_of(after, TWICE).full_window  # of the next tail


def test_a_tail_behind_a_repeated_window_may_be_short_again() -> None:
    decode = new_decode().with_result(short(result_until(10, avg_logprob=-2.0)), TWICE)
    decode = decode.with_result(result_until(10), TWICE)
    assert decode.start == 160_000
    assert not request_of(decode, TWICE).full_window


def test_an_exception_while_a_short_window_is_repeated_is_a_failure() -> None:
    decode = new_decode().with_result(short(result_until(30, avg_logprob=-2.0)), TWICE)
    failed = decode.with_failure(FAILURE, TWICE)
    assert (failed.is_finished, failed.passes, failed.failures) == (True, (), (FAILURE,))


@pytest.mark.parametrize("kind", PieceKind)
def test_only_windows_and_tails_may_be_short(kind: PieceKind) -> None:
    decode = replace(new_decode(), pieces=(Piece(0, 160_000, kind),))
    is_full = kind not in (PieceKind.WINDOW, PieceKind.TAIL)
    assert request_of(decode, TWICE).full_window is is_full
    decode = replace(new_decode(), pieces=(Piece(0, 160_000, kind, is_full=True),))
    assert request_of(decode, TWICE).full_window
