from __future__ import annotations

import pytest

from pipelines.evaluation.timestamp_errors import TimedText, TimeErrors, TimeQuality, compare_times


def timed(*texts: tuple[float, float, str]) -> list[TimedText]:
    return [TimedText(*text) for text in texts]


def compared(
    reference: list[TimedText], hypothesis: list[TimedText], language: str = "en"
) -> tuple[dict[int, int], dict[int, int]]:
    quality = compare_times(reference, hypothesis, language)
    return dict(quality.starts.counts), dict(quality.ends.counts)


def test_only_equal_words_are_compared() -> None:
    reference = timed((0.0, 0.5, "The"), (0.5, 1.0, "colour"), (1.0, 1.5, "red"), (1.5, 2.0, "paled"))
    hypothesis = timed(
        (0.1, 0.4, " the"), (0.5, 1.2, " color,"), (9.0, 9.5, " bread"), (1.25, 2.0, " paled.")
    )
    assert compared(reference, hypothesis) == ({100: 1, 0: 1, 250: 1}, {100: 1, 200: 1, 0: 1})


def test_segment_has_the_start_of_its_first_word_and_the_end_of_its_last() -> None:
    words = timed((0.0, 0.4, "one"), (0.4, 0.8, "big"), (0.8, 1.3, "cat"), (2.0, 2.5, "sat"))
    segments = timed((0.1, 1.5, " One big cat"), (1.5, 2.5, " sat."))
    assert compared(words, segments) == ({100: 1, 500: 1}, {200: 1, 0: 1})
    assert compared(segments, words) == compared(words, segments)
    assert compared(segments, segments) == ({0: 2}, {0: 2})


def test_times_of_an_unpaired_word_are_not_compared() -> None:
    assert compared(timed((0.5, 1.0, "yes")), timed((0.0, 1.0, "um, yes"))) == ({}, {0: 1})
    assert compared(timed((0.5, 1.0, "yes")), timed((0.0, 0.2, "..."), (0.5, 1.0, "yes"))) == ({0: 1}, {0: 1})


def test_unspaced_languages_are_compared_by_character() -> None:
    reference = timed((0.0, 1.0, "日本"), (1.0, 2.0, "です"))
    hypothesis = timed((0.25, 0.5, "日"), (0.5, 1.5, "本で"), (1.5, 2.0, "す。"))
    assert compared(reference, hypothesis, "ja") == ({250: 1}, {0: 1})


@pytest.mark.parametrize("reference", [[], timed((0.0, 1.0, "other"))])
def test_nothing_in_common(reference: list[TimedText]) -> None:
    assert compared(reference, timed((0.0, 1.0, "words"))) == ({}, {})


def test_quantiles_and_shares() -> None:
    errors = TimeErrors()
    for difference_s in (0.1, -0.3, 0.2, 0.05, -4.0):
        errors.add(difference_s)
    assert [errors.quantile_s(share) for share in (0.2, 0.5, 0.8, 0.95, 1.0)] == [0.05, 0.2, 0.3, 4.0, 4.0]
    assert [errors.share_within(seconds) for seconds in (0.01, 0.1, 0.2, 0.5)] == [0, 0.4, 0.6, 0.8]
    assert errors.n_compared == 5


def test_quantile_and_share_without_differences() -> None:
    assert TimeErrors().quantile_s(0.5) is TimeErrors().share_within(0.1) is None


def test_differences_of_several_recordings_are_added() -> None:
    total = TimeQuality()
    for end_s in (1.0, 1.25, 1.25):
        total.update(compare_times(timed((0.0, 1.0, "a")), timed((0.0, end_s, "a")), "de"))
    assert (dict(total.starts.counts), dict(total.ends.counts)) == ({0: 3}, {0: 1, 250: 2})
