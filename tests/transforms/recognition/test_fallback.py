from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.interface import Samples, Segment, WindowResult
from transforms.core.types import Window
from transforms.recognition.fallback import FallbackPolicy

FALLBACK = FallbackPolicy()
SAMPLES = np.arange(1000, dtype=np.float32) / 1000


def result(**scores: float) -> WindowResult:
    good = WindowResult((Segment(0, 100, " text"),), "en", avg_logprob=-0.3, compression_ratio=1.4)
    return replace(good, **scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({}, None),
        ({"repeated": True, "compression_ratio": 5.0}, "loop"),
        ({"compression_ratio": 2.41}, "compression_ratio"),
        ({"compression_ratio": 2.4}, None),
        ({"avg_logprob": -1.01}, "avg_logprob"),
        ({"avg_logprob": -1.0}, None),
        ({"avg_logprob": -1.5, "no_speech_prob": 0.61}, None),  # silence is not decoded again
        ({"avg_logprob": -1.5, "no_speech_prob": 0.6}, "avg_logprob"),
        ({"compression_ratio": 2.5, "avg_logprob": -1.5, "no_speech_prob": 0.9}, None),
    ],
)
def test_the_reason_to_reject_a_result(scores: dict[str, float], reason: str | None) -> None:
    assert FALLBACK.reason(result(**scores)) == reason


def test_silence_needs_no_speech_and_a_low_log_probability() -> None:
    assert FALLBACK.is_silent(result(no_speech_prob=0.7, avg_logprob=-1.1))
    assert not FALLBACK.is_silent(result(no_speech_prob=0.7, avg_logprob=-0.9))
    assert not FALLBACK.is_silent(result(no_speech_prob=0.5, avg_logprob=-1.1))


@pytest.mark.parametrize(
    ("scores", "sure"),
    [
        ({}, True),
        ({"avg_logprob": -1.1}, False),
        ({"no_speech_prob": 0.7}, False),
        ({"compression_ratio": 2.5}, False),
        ({"repeated": True}, False),
    ],
)
def test_a_sure_result_passes_every_threshold(scores: dict[str, float], sure: bool) -> None:
    assert FALLBACK.is_sure(result(**scores)) is sure


def test_a_broken_character_is_rejected_and_kept_only_if_there_is_nothing_better() -> None:
    broken = result(segments=(Segment(0, 100, " te\ufffdt"),), avg_logprob=-0.1)
    assert FALLBACK.reason(broken) == "broken_character"
    assert not FALLBACK.is_sure(broken)
    whole, loop = result(avg_logprob=-1.2), result(repeated=True)
    assert FALLBACK.best([broken, whole, loop]) is whole
    assert FALLBACK.best([broken, loop]) is broken


def test_thresholds_are_options() -> None:
    strict = FallbackPolicy(compression_ratio_threshold=1.2, logprob_threshold=-0.2, no_speech_threshold=0.1)
    assert strict.reason(result()) == "compression_ratio"
    assert strict.reason(result(compression_ratio=1.0)) == "avg_logprob"
    assert strict.is_silent(result(no_speech_prob=0.2))


def test_the_best_rejected_result_does_not_repeat() -> None:
    repeats = result(avg_logprob=-0.1, compression_ratio=3.0)
    stopped = result(avg_logprob=-0.1, repeated=True)
    unsure, wild = result(avg_logprob=-1.2), result(avg_logprob=-3.0)
    assert FALLBACK.best([repeats, stopped, unsure, wild]) is unsure
    assert FALLBACK.best([wild, repeats]) is wild
    assert FALLBACK.best([repeats, replace(repeats, avg_logprob=-0.05)]).avg_logprob == -0.05


def window_of(samples: Samples) -> Window:
    return Window("id", 3, ((400_000, 400_000 + samples.size),), samples, samples.size)


def test_each_window_and_temperature_has_its_own_stable_seed() -> None:
    seeds = {FALLBACK.seed_of(window_of(samples), 0.2) for samples in (SAMPLES, SAMPLES[1:], -SAMPLES)}
    seeds |= {
        FALLBACK.seed_of(window_of(SAMPLES), 0.4),
        FallbackPolicy(seed=1).seed_of(window_of(SAMPLES), 0.2),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**64 for seed in seeds)
    # The same on any machine, in any year:
    assert FALLBACK.seed_of(window_of(SAMPLES), 0.2) == 6_405_329_199_730_427_360


def test_the_seed_depends_on_nothing_but_the_samples() -> None:
    """A recording has the same text under any name, in any file, and wherever a window begins."""
    window = window_of(SAMPLES)
    others = [
        replace(window, audio_id="other"),
        replace(window, index=7, stretches=((400_001, 401_001),), n_unshared=500),
        replace(window, language="fr", speech=((0, 500),)),
        replace(window, samples=np.repeat(SAMPLES, 2)[::2]),
    ]
    assert {FALLBACK.seed_of(one, 0.2) for one in others} == {FALLBACK.seed_of(window, 0.2)}
