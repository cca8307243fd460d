from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, WindowResult
from tests.support.decoded_windows import NOISE, SPEECH, result_until, sound, window
from transforms.recognition.tails import frame_levels_db, tail_start


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
