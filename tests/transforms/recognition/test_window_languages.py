from __future__ import annotations

import pytest

from model.interface import Segment, WindowResult
from transforms.recognition.window_languages import (
    Run,
    is_unsure,
    language_of,
    languages_of,
    mixed_result,
    runs_of,
)


def detected(**probs: float) -> WindowResult:
    language = max(probs, key=lambda one: probs[one])
    return WindowResult((Segment(0, 16_000, " text"),), language, probs)


def test_a_window_is_unsure_below_the_threshold_if_its_language_was_detected() -> None:
    assert is_unsure(detected(en=0.86, es=0.13))
    assert not is_unsure(detected(en=0.96, es=0.03))
    assert not is_unsure(WindowResult((), "en"))


@pytest.mark.parametrize(
    ("probs", "language"),
    [
        ({"de": 0.98, "en": 0.01}, "de"),
        ({"en": 0.98}, "en"),
        ({"de": 0.7, "en": 0.2}, "en"),  # the window's language is possible
        ({"de": 0.4, "nl": 0.35, "fr": 0.25}, "en"),  # no language is likely
        ({"de": 0.6}, "de"),
    ],
)
def test_a_piece_is_in_another_language_if_that_is_likely_and_the_windows_is_not(
    probs: dict[str, float], language: str
) -> None:
    assert language_of(detected(**probs), "en") == language


def test_languages_that_are_not_possible_do_not_count() -> None:
    assert language_of(detected(cy=0.9, de=0.08), "en", ("en", "de")) == "de"
    assert language_of(detected(cy=0.9), "en", ("en", "de")) == "en"
    assert language_of(WindowResult((), "fr"), "en") == "fr"


def test_a_piece_that_is_unsure_is_in_a_language_of_its_neighbours() -> None:
    pieces = [detected(en=0.99), detected(es=0.98), detected(pt=0.7, es=0.23), detected(en=0.5, es=0.4)]
    assert languages_of(pieces, "en") == ["en", "es", "es", "en"]
    assert languages_of([detected(pt=0.7, es=0.23), None], "en") == ["pt", None]


def test_neighbouring_pieces_of_one_language_are_a_run() -> None:
    assert runs_of(["en", "en", "de", "es", "en"], "en") == [
        Run("en", 0, 1),
        Run("de", 2, 2),
        Run("es", 3, 3),
        Run("en", 4, 4),
    ]
    assert runs_of([None, "de", None, "en"], "en") == [Run("de", 0, 2), Run("en", 3, 3)]
    assert runs_of([None, None], "en") == [Run("en", 0, 1)]


def test_a_window_in_several_languages_has_that_of_most_samples_and_the_mean_of_the_posteriors() -> None:
    mixed = mixed_result(
        detected(en=0.9), [("en", 10), ("de", 30)], [({"en": 1.0}, 10), ({"de": 0.8, "nl": 0.2}, 30)]
    )
    assert (mixed.language, mixed.segments) == ("de", ())
    assert mixed.language_probs == pytest.approx({"de": 0.6, "en": 0.25, "nl": 0.15})
    assert list(mixed.language_probs) == ["de", "en", "nl"]
