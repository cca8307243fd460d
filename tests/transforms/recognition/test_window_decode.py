from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Samples, Segment, WindowResult
from transforms.core.types import AudioSource, Failure, Window
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.window_decode import MAX_PASSES, WindowDecode, frame_levels_db, tail_start

SOURCE = AudioSource("id", "u")
ONCE = FallbackPolicy(temperature=(0.0,))
TWICE = FallbackPolicy(temperature=(0.0, 0.4))
FAILURE = Failure("id", "u", "transcribe", "model_error", "the model raised")
SPEECH, NOISE = 0.1, 0.001  # amplitudes


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise, given as (seconds, amplitude) stretches."""
    random = np.random.default_rng(0)
    noise = [random.standard_normal(int(s * SAMPLE_RATE)) * amplitude for s, amplitude in stretches]
    return np.concatenate(noise).astype(np.float32)


TALK = sound((10, SPEECH), (2, NOISE), (10, SPEECH), (2, NOISE), (6, SPEECH))


def window(samples: Samples = TALK, unshared_s: float | None = None) -> Window:
    n_unshared = samples.size if unshared_s is None else int(unshared_s * SAMPLE_RATE)
    return Window("id", 3, ((1_200_000, 1_200_000 + samples.size),), samples, n_unshared, None)


def result_until(stop_s: float, **scores: float) -> WindowResult:
    """A result with one segment, from the start of the window to `stop_s`."""
    segments = (Segment(0, int(stop_s * SAMPLE_RATE), " text"),)
    return WindowResult(segments, "en", **scores)  # type: ignore[arg-type]


def new_decode() -> WindowDecode:
    return WindowDecode(SOURCE, window())


def request_of(
    decode: WindowDecode, policy: FallbackPolicy, decoding: DecodingOptions | None = None
) -> Request:
    return decode.request(decoding or DecodingOptions(), policy)


@pytest.mark.parametrize(
    ("stop_s", "unshared_s", "expected_s"),
    [
        (10.0, 30, 10.0),  # stopped before the pause, and there is speech after it
        (10.0, 25, 10.0),
        (22.0, 24, None),  # only a pause is left before the next window
        (24.0, 25, 24.0),  # one second of speech
        (24.5, 25, None),  # half a second is a breath
        (26.0, 25, None),  # the rest is in the next window
        (30.0, 30, None),
    ],
)
def test_the_tail_starts_where_the_model_stopped_before_speech(
    stop_s: float, unshared_s: float, expected_s: float | None
) -> None:
    start = tail_start(window(unshared_s=unshared_s), result_until(stop_s))
    assert start == (None if expected_s is None else int(expected_s * SAMPLE_RATE))


def test_a_result_without_text_or_times_has_no_tail() -> None:
    assert tail_start(window(), WindowResult((), "en")) is None
    assert tail_start(window(), WindowResult(result_until(5).segments, "en", timestamped=False)) is None


@pytest.mark.parametrize("amplitude", [0.0, 1e-5, 0.005])
def test_silence_and_noise_after_speech_are_no_tail(amplitude: float) -> None:
    samples = sound((5, SPEECH), (5, amplitude))
    assert tail_start(window(samples), result_until(5)) is None


def test_loudness_is_in_db_of_full_scale() -> None:
    levels = frame_levels_db(np.r_[np.ones(320), np.full(320, 0.1), np.zeros(320), 5].astype(np.float32))
    np.testing.assert_allclose(levels, [0, -20, -100], atol=1e-4)


def test_detected_speech_decides_instead_of_loudness() -> None:
    quiet = replace(window(sound((10, SPEECH), (10, NOISE))), speech=((0, 160_000), (200_000, 216_000)))
    assert tail_start(quiet, result_until(10)) == 160_000
    click = replace(quiet, speech=((0, 166_400), (200_000, 209_000)))
    assert tail_start(click, result_until(10)) is None
    loud = replace(window(), speech=((0, 160_000),))
    assert tail_start(loud, result_until(10)) is None


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
    sure = new_decode().with_result(result_until(10, no_speech_prob=0.9, avg_logprob=-0.5), ONCE)
    assert sure.passes[0].result.segments != ()


def test_there_is_a_most_number_of_passes() -> None:
    decode = WindowDecode(SOURCE, window(sound(*[(0.8, SPEECH), (0.2, NOISE)] * 30)))
    n_passes = 0
    while not decode.is_finished:
        decode = decode.with_result(result_until(1), ONCE)
        n_passes += 1
    assert n_passes == MAX_PASSES


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
    (kept,) = decode.finalized(TWICE).passes
    assert (kept.result.avg_logprob, kept.fallback) == (-1.5, None)
    failed = decode.with_failure(FAILURE, TWICE)
    assert (failed.is_finished, failed.failures) == (True, (FAILURE,))
    assert failed.passes == (kept,)
    assert failed.counts == ("failed_avg_logprob",)


def test_an_exception_at_the_first_attempt_leaves_no_pass() -> None:
    failed = new_decode().with_failure(FAILURE, TWICE)
    assert (failed.is_finished, failed.passes, failed.failures) == (True, (), (FAILURE,))
    assert failed.counts == ()


def test_an_exception_in_a_tail_keeps_the_passes_before_it_and_drops_its_attempts() -> None:
    decode = new_decode().with_result(result_until(10), TWICE)
    for failing in (decode, decode.with_result(result_until(3, avg_logprob=-1.02), TWICE)):
        failed = failing.with_failure(FAILURE, TWICE)
        assert (failed.is_finished, failed.failures) == (True, (FAILURE,))
        assert (failed.passes, failed.attempts) == (decode.passes, ())


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
