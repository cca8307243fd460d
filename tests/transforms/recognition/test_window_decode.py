from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Samples, Segment, WindowResult
from transforms.core.types import AudioSource, Window
from transforms.recognition.fallback import Fallback
from transforms.recognition.window_decode import MAX_LOOKS, Hearing, frame_levels_db, remainder


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise, given as (seconds, amplitude) stretches."""
    random = np.random.default_rng(0)
    pieces = [random.standard_normal(int(s * SAMPLE_RATE)) * amplitude for s, amplitude in stretches]
    return np.concatenate(pieces).astype(np.float32)


ONCE = Fallback(temperatures=(0.0,))
SPEECH, NOISE = 0.1, 0.001
TALK = sound((10, SPEECH), (2, NOISE), (10, SPEECH), (2, NOISE), (6, SPEECH))


def window(samples: Samples = TALK, n_own_s: float | None = None) -> Window:
    n_own = samples.size if n_own_s is None else int(n_own_s * SAMPLE_RATE)
    return Window("id", 3, ((1_200_000, 1_200_000 + samples.size),), samples, n_own, None)


def said(stop_s: float, **scores: float) -> WindowResult:
    return WindowResult((Segment(0, int(stop_s * SAMPLE_RATE), " said"),), "en", **scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stop_s", "n_own_s", "expected_s"),
    [
        (10.0, 30, 10.0),  # stopped before the pause, and spoke on after it
        (10.0, 25, 10.0),
        (22.0, 24, None),  # a pause is all that is left before the next window
        (24.0, 25, 24.0),  # one second of speech
        (24.5, 25, None),  # half a second is a breath
        (26.0, 25, None),  # the next window hears the rest
        (30.0, 30, None),
    ],
)
def test_where_to_go_on(stop_s: float, n_own_s: float, expected_s: float | None) -> None:
    rest = remainder(window(n_own_s=n_own_s), said(stop_s))
    assert rest == (None if expected_s is None else int(expected_s * SAMPLE_RATE))


def test_a_window_without_text_or_times_has_no_place_to_go_on_from() -> None:
    assert remainder(window(), WindowResult((), "en")) is None
    assert remainder(window(), WindowResult(said(5).segments, "en", timestamped=False)) is None


@pytest.mark.parametrize("after", [0.0, 1e-5, 0.005])
def test_silence_and_noise_after_speech_are_left_alone(after: float) -> None:
    samples = sound((5, SPEECH), (5, after))
    assert remainder(window(samples), said(5)) is None


def test_loudness_is_in_db_of_full_scale() -> None:
    levels = frame_levels_db(np.r_[np.ones(320), np.full(320, 0.1), np.zeros(320), 5].astype(np.float32))
    np.testing.assert_allclose(levels, [0, -20, -100], atol=1e-4)


def test_looks_go_on_from_the_last_in_the_language_of_the_first() -> None:
    hearing = Hearing(AudioSource("id", "u"), window())
    assert hearing.next_window is hearing.window
    hearing = hearing.heard(said(10), ONCE)
    assert hearing.start == 10 * SAMPLE_RATE
    rest = hearing.next_window
    assert rest.pieces == ((1_200_000 + 160_000, 1_200_000 + 480_000),)
    assert (rest.samples.size, rest.n_own) == (320_000, 320_000)
    assert rest.language == "en"
    hearing = hearing.heard(said(2), ONCE)
    assert hearing.start == 12 * SAMPLE_RATE
    hearing = hearing.heard(said(18), ONCE)
    assert hearing.start is None
    assert [look.offset for look in hearing.looks] == [0, 160_000, 192_000]


def test_a_remainder_is_tried_hotter_and_none_is_kept_of_one_that_is_never_sure() -> None:
    first = Hearing(AudioSource("id", "u"), window()).heard(said(10), TWICE)
    again = first.heard(said(3, avg_logprob=-1.02), TWICE)
    assert again.request(TWICE).temperature == 0.4
    kept = again.heard(said(20), TWICE)
    assert [look.offset for look in kept.looks] == [0, 160_000]
    dropped = again.heard(said(3, avg_logprob=-1.02), TWICE)
    assert (len(dropped.looks), dropped.start) == (1, None)
    silent = first.heard(said(3, avg_logprob=-1.02, no_speech_prob=0.9), TWICE)
    assert silent.start is None


def test_when_the_model_chokes_on_a_hotter_attempt_the_best_of_those_before_is_kept() -> None:
    hearing = Hearing(AudioSource("id", "u"), window()).heard(said(30, avg_logprob=-1.5), TWICE)
    (look,) = hearing.given_up(TWICE).looks
    assert (look.result.avg_logprob, look.fallback) == (-1.5, None)


def test_a_look_that_is_not_sound_changes_nothing_but_the_first_always_counts() -> None:
    hearing = Hearing(AudioSource("id", "u"), window()).heard(said(10, avg_logprob=-2), ONCE)
    assert len(hearing.looks) == 1
    hearing = hearing.heard(said(3, no_speech_prob=0.9), ONCE)
    assert len(hearing.looks) == 1
    assert hearing.start is None


def test_what_is_written_where_nobody_speaks_is_not_taken() -> None:
    hearing = Hearing(AudioSource("id", "u"), window()).heard(
        said(10, no_speech_prob=0.9, avg_logprob=-1.5), ONCE
    )
    assert hearing.looks[0].result.segments == ()
    assert hearing.start is None
    sure = Hearing(AudioSource("id", "u"), window()).heard(
        said(10, no_speech_prob=0.9, avg_logprob=-0.5), ONCE
    )
    assert sure.looks[0].result.segments != ()


def test_looks_come_to_an_end() -> None:
    hearing = Hearing(AudioSource("id", "u"), window(sound(*[(0.8, SPEECH), (0.2, NOISE)] * 30)))
    n_looks = 0
    while hearing.start is not None:
        hearing = hearing.heard(said(1), ONCE)
        n_looks += 1
    assert n_looks == MAX_LOOKS


def test_speech_that_was_heard_decides_instead_of_loudness() -> None:
    quiet = replace(window(sound((10, SPEECH), (10, NOISE))), speech=((0, 160_000), (200_000, 216_000)))
    assert remainder(quiet, said(10)) == 160_000
    a_click = replace(quiet, speech=((0, 166_400), (200_000, 209_000)))
    assert remainder(a_click, said(10)) is None
    loud = replace(window(), speech=((0, 160_000),))
    assert remainder(loud, said(10)) is None


TWICE = Fallback(temperatures=(0.0, 0.4))


def test_a_window_that_fails_is_asked_for_hotter_in_the_language_it_found() -> None:
    hearing = Hearing(AudioSource("id", "u", prompt="Dear sir", hotwords="Guttenberg"), window())
    first = hearing.request(TWICE)
    assert (first.temperature, first.seed, first.language) == (0.0, 0, None)
    assert (first.prompt, first.hotwords) == ("Dear sir", "Guttenberg")
    failed = replace(said(30, avg_logprob=-2.0), language="de", language_probs={"de": 0.6})
    hearing = hearing.heard(failed, TWICE)
    assert hearing.looks == ()
    second = hearing.request(TWICE)
    assert (second.temperature, second.language) == (0.4, "de")
    assert second.seed == TWICE.seed_of(window(), 0.4) != Fallback(seed=1).seed_of(window(), 0.4)
    hearing = hearing.heard(replace(said(30), language="de", temperature=0.4), TWICE)
    (look,) = hearing.looks
    assert (look.result.temperature, look.fallback, look.result.language_probs) == (
        0.4,
        "avg_logprob",
        {"de": 0.6},
    )


def test_when_all_temperatures_fail_the_likeliest_that_does_not_repeat_is_kept() -> None:
    hearing = Hearing(AudioSource("id", "u"), window())
    hearing = hearing.heard(said(30, avg_logprob=-0.1, compression_ratio=9.0), TWICE)
    hearing = hearing.heard(said(30, avg_logprob=-1.7), TWICE)
    assert hearing.start is None
    assert hearing.looks[0].result.avg_logprob == -1.7
    assert hearing.looks[0].fallback == "compression_ratio"


def test_a_window_that_passes_is_decoded_once() -> None:
    assert Hearing(AudioSource("id", "u"), window()).heard(said(30), TWICE).start is None


def test_a_remainder_of_a_spliced_window_is_what_is_left_of_its_pieces() -> None:
    pieces = ((0, 100_000), (400_000, 500_000), (900_000, 1_180_000))
    spliced = replace(window(), pieces=pieces, speech=((0, 100_000), (100_000, 200_000), (200_000, 480_000)))
    rest = Hearing(AudioSource("id", "u"), spliced).heard(said(10), ONCE).next_window
    assert rest.pieces == ((460_000, 500_000), (900_000, 1_180_000))
    assert rest.speech == ((0, 40_000), (40_000, 320_000))
    assert rest.samples.size == rest.n_own == 320_000


def test_speech_of_a_remainder_counts_from_its_start() -> None:
    hearing = Hearing(AudioSource("id", "u"), replace(window(), speech=((0, 100_000), (150_000, 300_000))))
    rest = hearing.heard(said(10), ONCE).next_window
    assert rest.speech == ((0, 140_000),)
