from __future__ import annotations

from dataclasses import replace

import pytest

from model.interface import Segment, WindowResult
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.short_windows import is_doubtful, repeats_a_phrase

POLICY = FallbackPolicy()


def short(text: str = " some words", **scores: float) -> WindowResult:
    result = WindowResult((Segment(0, 16_000, text),), "en", avg_logprob=-0.2, is_short=True)
    return replace(result, **scores)  # type: ignore[arg-type]


def test_a_decoding_that_passes_every_threshold_is_not_doubtful() -> None:
    assert not is_doubtful(short(), POLICY)


@pytest.mark.parametrize(
    "result",
    [
        short(avg_logprob=-1.1),
        short(avg_logprob=-0.5),
        short(no_speech_prob=0.7),
        short(no_speech_prob=0.7, avg_logprob=-1.1),
        short(compression_ratio=2.5),
        replace(short(), repeated=True),
        short(" some w\N{REPLACEMENT CHARACTER}rds"),
        short(" ..."),
        replace(short(), segments=()),
        replace(short(), language_probs={"en": 0.4, "de": 0.3}),
        short(" It is modern, comparatively, it is modern, comparatively."),
    ],
)
def test_whatever_is_not_beyond_doubt_is_doubtful_unless_the_network_was_given_30_s(
    result: WindowResult,
) -> None:
    assert is_doubtful(result, POLICY)
    assert not is_doubtful(replace(result, is_short=False), POLICY)


def test_the_thresholds_are_those_of_the_run() -> None:
    assert is_doubtful(short(), FallbackPolicy(logprob_threshold=-0.1))
    assert not is_doubtful(short(compression_ratio=2.5), FallbackPolicy(compression_ratio_threshold=3.0))


def test_a_phrase_may_go_on_in_the_next_segment() -> None:
    segments = (Segment(0, 1, " They are modern,"), Segment(1, 2, " They are modern."))
    assert is_doubtful(replace(short(), segments=segments), POLICY)


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", False),
        ("Yes, yes, yes.", False),  # eleven letters are no phrase, however often they are said
        ("It is modern. It is modern.", False),
        ("They are modern. They are modern.", True),
        ("THEY are modern, they are -- modern!", True),
        ("They are modern, and so they are modern.", False),
        ("They are modern and comparatively new, I said. They are modern and comparatively new.", True),
        ("They are modern and comparatively new, I said. They are modern, or comparatively new.", False),
        ("我们今天很高兴我们今天很高兴", True),
        ("我们今天去学校看老师", False),
        ("今日は学校へ行きますと言いました今日は学校へ行きますと", True),
    ],
)
def test_a_phrase_that_is_written_twice(text: str, repeats: bool) -> None:
    assert repeats_a_phrase(text) is repeats
