from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from transforms.core.types import Segment, WindowTranscript
from transforms.merging.language_vote import MIN_SURE, outvoted, posteriors, vote


def window(index: int, language: str, no_speech_prob: float = 0.0, **probs: float) -> WindowTranscript:
    return WindowTranscript(
        audio_id="a",
        index=index,
        start_s=25.0 * index,
        end_s=25.0 * index + 30.0,
        segments=(),
        language=language,
        language_probs=probs,
        no_speech_prob=no_speech_prob,
    )


def test_the_sum_of_posteriors_wins_over_the_count_of_windows() -> None:
    windows = [window(0, "cy", cy=0.51, en=0.49), window(1, "cy", cy=0.51, en=0.49), window(2, "en", en=0.99)]
    assert vote(windows) == "en"


def test_a_window_without_speech_has_little_say() -> None:
    silence = [window(i, "cy", no_speech_prob=0.99, cy=0.9, en=0.1) for i in range(5)]
    assert vote([*silence, window(5, "en", no_speech_prob=0.1, cy=0.3, en=0.7)]) == "en"


def test_windows_that_all_doubt_speech_still_vote() -> None:
    assert vote([window(0, "cy", no_speech_prob=1.0, cy=0.2, fr=0.8)]) == "fr"


def test_a_window_without_posteriors_votes_for_its_language() -> None:
    assert vote([window(0, "de"), window(1, "fr", fr=0.6, de=0.4)]) == "de"


def test_the_order_of_windows_does_not_matter_and_ties_go_by_the_alphabet() -> None:
    windows = [
        window(0, "fr", fr=0.5, de=0.25),
        window(1, "de", fr=0.125, de=0.25),
        window(2, "fr", fr=0.125, de=0.25),
    ]
    assert {vote(order) for order in permutations(windows)} == {"de"}


def test_no_windows_are_an_error() -> None:
    with pytest.raises(ValueError, match="no windows to vote"):
        vote([])


def test_outvoted_windows_are_those_of_another_language() -> None:
    assert outvoted([window(0, "en"), window(1, "cy"), window(2, "en"), window(3, "fr")], "en") == {1, 3}


def test_a_window_with_more_speech_has_more_say() -> None:
    little = replace(window(0, "cy", cy=0.9, en=0.1), speech=((0.0, 1.0),))
    much = replace(window(1, "en", cy=0.4, en=0.6), speech=((25.0, 45.0),))
    assert vote([little, much]) == "en"
    assert vote([replace(little, speech=None), replace(much, speech=None)]) == "cy"


def test_posteriors_are_probabilities_the_likeliest_first() -> None:
    probs = posteriors([window(0, "de", de=0.5, fr=0.25), window(1, "fr", fr=0.25)])
    assert list(probs) == ["de", "fr"]
    assert list(probs.values()) == [0.5, 0.5]
    assert sum(posteriors([window(0, "de", de=0.7, fr=0.2)]).values()) == pytest.approx(1.0)


def test_a_vote_among_some_languages_leaves_out_the_others() -> None:
    windows = [window(0, "cy", cy=0.7, de=0.2, fr=0.1), window(1, "en", en=0.9, fr=0.1)]
    assert vote(windows) == "en"
    assert vote(windows, ("fr", "de")) == "de"  # with the same sum, by the alphabet
    assert posteriors(windows, ("cy", "de")) == pytest.approx({"cy": 0.7 / 0.9, "de": 0.2 / 0.9})
    assert list(posteriors(windows, ("de", "cy"))) == ["cy", "de"]
    assert posteriors(windows, ("cy", "de", "en", "fr")) == posteriors(windows)


def test_windows_in_none_of_the_languages_are_in_the_first_one() -> None:
    windows = [window(0, "cy", cy=0.7, de=0.2), window(1, "en")]
    assert posteriors(windows, ("it", "fr")) == {"it": 1.0}
    assert vote(windows, ("it", "fr")) == "it"


def test_a_window_without_posteriors_votes_for_its_language_if_it_is_allowed() -> None:
    assert vote([window(0, "de"), window(1, "fr", fr=0.6, de=0.1)], ("fr", "it")) == "fr"
    assert vote([window(0, "de"), window(1, "fr", fr=0.6, de=0.1)], ("fr", "de")) == "de"


def with_text(one: WindowTranscript, *languages: str) -> WindowTranscript:
    segments = tuple(
        Segment(one.start_s, one.end_s, f" {language}", -0.1, 0.0, 1.0, 0.0, language)
        for language in languages or (one.language,)
    )
    return replace(one, segments=segments)


def test_a_window_that_is_sure_of_its_language_is_not_outvoted() -> None:
    sure = with_text(window(1, "de", de=MIN_SURE, en=0.04))
    unsure = with_text(window(2, "de", de=MIN_SURE - 0.01, en=0.04))
    silent = replace(sure, index=3, no_speech_prob=0.7)
    empty = replace(sure, index=4, segments=())
    unknown = with_text(window(5, "de"))
    assert outvoted([window(0, "en"), sure, unsure, silent, empty, unknown], "en") == {2, 3, 4, 5}


def test_a_window_in_several_languages_is_not_outvoted() -> None:
    assert outvoted([with_text(window(0, "de", de=0.5, fr=0.4), "de", "fr")], "en") == frozenset()


def test_a_window_is_outvoted_if_its_language_is_not_possible() -> None:
    windows = [with_text(window(0, "de", de=0.99)), with_text(window(1, "de", de=0.5), "de", "cy")]
    assert outvoted(windows, "en", ("en", "de")) == {1}
    assert outvoted(windows, "en", ("en", "fr")) == {0, 1}
