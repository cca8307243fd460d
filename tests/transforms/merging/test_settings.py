from __future__ import annotations

import pytest

from transforms.core.types import AudioSource
from transforms.merging.settings import MergeSettings

SOURCE = AudioSource("id", "/a.wav")
FRENCH = AudioSource("id", "/a.wav", language="fr")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (MergeSettings(), True),
        (MergeSettings("en"), False),
        (MergeSettings(per_window=True), False),
        (MergeSettings("en", redecode_below=0.5), True),
        (MergeSettings(per_window=True, redecode_below=0.5), True),
    ],
)
def test_a_second_pass_is_needed_for_the_vote_or_for_weak_boundaries(
    settings: MergeSettings, expected: bool
) -> None:
    assert settings.needs_second_pass is expected


def test_the_language_of_a_recording_takes_precedence_over_that_of_the_run() -> None:
    assert [MergeSettings("en").language_of(one) for one in (SOURCE, FRENCH)] == ["en", "fr"]
    assert [MergeSettings().language_of(one) for one in (SOURCE, FRENCH)] == [None, "fr"]


def test_windows_vote_on_the_language_when_none_was_given() -> None:
    assert [MergeSettings().votes_on(one) for one in (SOURCE, FRENCH)] == [True, False]
    assert not MergeSettings("en").votes_on(SOURCE)
    assert not MergeSettings(per_window=True).votes_on(SOURCE)


def test_windows_may_be_decoded_a_second_time_after_a_vote_or_at_weak_boundaries() -> None:
    assert [MergeSettings().may_redecode(one) for one in (SOURCE, FRENCH)] == [True, False]
    assert MergeSettings(redecode_below=0.5).may_redecode(FRENCH)
    assert not MergeSettings("en").may_redecode(SOURCE)
