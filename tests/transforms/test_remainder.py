from __future__ import annotations

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Samples, Segment, WindowResult
from transforms.remainder import MAX_LOOKS, Hearing, frame_levels_db, is_sound, remainder
from transforms.types import AudioSource, Window


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise, given as (seconds, amplitude) stretches."""
    random = np.random.default_rng(0)
    pieces = [random.standard_normal(int(s * SAMPLE_RATE)) * amplitude for s, amplitude in stretches]
    return np.concatenate(pieces).astype(np.float32)


SPEECH, NOISE = 0.1, 0.001
TALK = sound((10, SPEECH), (2, NOISE), (10, SPEECH), (2, NOISE), (6, SPEECH))


def window(samples: Samples = TALK, n_own_s: float | None = None) -> Window:
    n_own = samples.size if n_own_s is None else int(n_own_s * SAMPLE_RATE)
    return Window("id", 3, 1_200_000, samples, n_own, None)


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


@pytest.mark.parametrize(
    ("scores", "sound"),
    [
        ({}, True),
        ({"avg_logprob": -1.1}, False),
        ({"no_speech_prob": 0.7}, False),
        ({"compression_ratio": 2.5}, False),
    ],
)
def test_thresholds(scores: dict[str, float], sound: bool) -> None:
    assert is_sound(said(1, **scores)) is sound


def test_looks_go_on_from_the_last_in_the_language_of_the_first() -> None:
    hearing = Hearing(AudioSource("id", "u"), window())
    assert hearing.next_window is hearing.window
    hearing = hearing.heard(said(10))
    assert hearing.start == 10 * SAMPLE_RATE
    rest = hearing.next_window
    assert (rest.start, rest.samples.size, rest.n_own) == (1_200_000 + 160_000, 320_000, 320_000)
    assert rest.language == "en"
    hearing = hearing.heard(said(2))
    assert hearing.start == 12 * SAMPLE_RATE
    hearing = hearing.heard(said(18))
    assert hearing.start is None
    assert [offset for offset, _ in hearing.looks] == [0, 160_000, 192_000]


def test_a_look_that_is_not_sound_changes_nothing_but_the_first_always_counts() -> None:
    hearing = Hearing(AudioSource("id", "u"), window()).heard(said(10, avg_logprob=-2))
    assert len(hearing.looks) == 1
    hearing = hearing.heard(said(3, no_speech_prob=0.9))
    assert len(hearing.looks) == 1
    assert hearing.start is None


def test_what_is_written_where_nobody_speaks_is_not_taken() -> None:
    hearing = Hearing(AudioSource("id", "u"), window()).heard(said(10, no_speech_prob=0.9, avg_logprob=-1.5))
    assert hearing.looks[0][1].segments == ()
    assert hearing.start is None
    sure = Hearing(AudioSource("id", "u"), window()).heard(said(10, no_speech_prob=0.9, avg_logprob=-0.5))
    assert sure.looks[0][1].segments != ()


def test_looks_come_to_an_end() -> None:
    hearing = Hearing(AudioSource("id", "u"), window(sound(*[(0.8, SPEECH), (0.2, NOISE)] * 30)))
    n_looks = 0
    while hearing.start is not None:
        hearing = hearing.heard(said(1))
        n_looks += 1
    assert n_looks == MAX_LOOKS
