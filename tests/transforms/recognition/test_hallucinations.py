from __future__ import annotations

from dataclasses import replace

import pytest

from transforms.core.types import Segment, WindowTranscript, Word
from transforms.recognition.hallucinations import (
    FilterInput,
    apply_filters,
    collapse_repeats,
    drop_impossible_rate,
    drop_invalid_length,
    drop_without_speech,
)


def filter_input(
    *segments: tuple[float, float, str],
    speech: tuple[tuple[float, float], ...] | None = None,
    repeats: bool = False,
    language: str = "en",
) -> FilterInput:
    made = tuple(Segment(start_s, end_s, text, -0.3, 0.1, 1.2, 0.0) for start_s, end_s, text in segments)
    return FilterInput(WindowTranscript("id", 0, 0.0, 30.0, made, language, speech=speech), repeats)


def texts(segments: tuple[Segment, ...]) -> list[str]:
    return [segment.text for segment in segments]


def test_segments_without_speech_are_removed() -> None:
    given = filter_input(
        (0, 4, " Hello."), (10, 14, " Thanks for watching!"), (20, 22, " Bye."), speech=((1, 3), (19, 21))
    )
    assert texts(drop_without_speech(given)) == [" Hello.", " Bye."]


def test_a_click_is_no_speech_but_a_short_word_is() -> None:
    assert drop_without_speech(filter_input((4, 6, " you"), speech=((0, 3.55),))) == ()
    assert len(drop_without_speech(filter_input((4, 4.08, " you"), speech=((0, 5),)))) == 1


def test_segments_that_start_a_little_after_speech_are_kept() -> None:
    assert len(drop_without_speech(filter_input((5.5, 6.2, " yes."), speech=((0, 5.2),)))) == 1


def test_text_after_the_end_of_the_audio_is_removed() -> None:
    given = filter_input((0, 2.5, " Hello."), (30, 30, " Thanks for watching!"), speech=((0, 2.4),))
    assert texts(drop_invalid_length(given)) == [" Hello."]


def test_text_without_letters_or_digits_is_removed() -> None:
    given = filter_input((0, 2, " ..."), (2, 4, " . . ♪"), (4, 5, " 5!"), (5, 6, " そう。"), (6, 7, " हाँ"))
    assert texts(drop_invalid_length(given)) == [" 5!", " そう。", " हाँ"]


def test_a_segment_longer_than_its_window_is_removed() -> None:
    assert texts(drop_invalid_length(filter_input((0, 30, " all of it"), (0, 30.5, " more")))) == [
        " all of it"
    ]


def test_the_rate_of_a_translation_is_that_of_its_words() -> None:
    given = filter_input((3, 4, " one two three four five six seven eight nine ten eleven"), language="ja")
    assert drop_impossible_rate(given) == ()


@pytest.mark.parametrize(("end_s", "kept"), [(3.2, False), (5.0, True)])
def test_the_rate_is_that_of_the_segment_with_and_without_word_times(end_s: float, kept: bool) -> None:
    given = filter_input((3, end_s, " one two three four five six seven"))
    assert bool(drop_impossible_rate(given)) is kept
    for word_end_s in (3.1, 9.0):
        word = Word(3.0, word_end_s, " one two three four five six seven", 0.9)
        timed = replace(given.window.segments[0], words=(word,))
        with_words = replace(given, window=replace(given.window, segments=(timed,)))
        assert bool(drop_impossible_rate(with_words)) is kept


def test_nothing_is_removed_without_speech_intervals_or_times() -> None:
    assert len(drop_without_speech(filter_input((4, 6, " you")))) == 1
    untimed = filter_input((0, 30, " you"), speech=())
    untimed = replace(untimed, window=replace(untimed.window, timestamped=False))
    assert len(drop_without_speech(untimed)) == 1


@pytest.mark.parametrize(
    ("text", "seconds", "language", "kept"),
    [
        (" one two three four five six seven eight nine ten", 1.0, "en", True),
        (" one two three four five six seven eight nine ten", 0.9, "en", False),
        (" one two three four five", 0.02, "en", True),
        ("客観的実在の判断的知識が整理するのである", 1.0, "ja", True),
        ("客観的実在の判断的知識が整理するのである", 0.5, "ja", False),
    ],
)
def test_text_at_an_impossible_rate_is_removed(text: str, seconds: float, language: str, kept: bool) -> None:
    assert bool(drop_impossible_rate(filter_input((3, 3 + seconds, text), language=language))) is kept


def test_repeated_segments_are_collapsed_into_one() -> None:
    given = filter_input(
        (0, 2, " Well, then."),
        (2, 4, " Thank you."),
        (4, 6, " Thank you."),
        (6, 8, " thank you"),
        (8, 9, " Good night."),
        repeats=True,
    )
    assert texts(collapse_repeats(given)) == [" Well, then.", " Thank you.", " Good night."]


def test_repetitions_inside_a_segment_and_across_segments_are_collapsed() -> None:
    given = filter_input((0, 5, " a b c a b c a b"), (5, 9, " c a b c d"), repeats=True)
    assert texts(collapse_repeats(given)) == [" a b c", " d"]


def test_a_refrain_of_a_result_that_does_not_repeat_is_kept() -> None:
    given = filter_input(*[(second, second + 1, " Holy, holy.") for second in range(6)])
    assert len(collapse_repeats(given)) == 6


def test_twice_is_no_repetition() -> None:
    given = filter_input((0, 2, " no no"), (2, 4, " yes yes no"), repeats=True)
    assert texts(collapse_repeats(given)) == [" no no", " yes yes no"]


def test_a_shortened_segment_has_no_words() -> None:
    given = filter_input((0, 5, " go go go go"), repeats=True)
    word = Word(0.0, 1.0, " go", 0.9)
    timed = replace(given.window.segments[0], words=(word,) * 4)
    given = replace(given, window=replace(given.window, segments=(timed,)))
    (segment,) = collapse_repeats(given)
    assert (segment.text, segment.words) == (" go", ())


def test_removed_segments_are_counted_and_each_filter_can_be_left_out() -> None:
    given = filter_input(
        (0, 4, " Hello."), (10, 14, " Thanks!"), (0, 0.1, " a b c d e f g"), speech=((0, 3),)
    )
    window, n_removed = apply_filters(given, ("no_speech", "rate", "repeats"))
    assert texts(window.segments) == [" Hello."]
    assert n_removed == {"no_speech": 1, "rate": 1, "repeats": 0}
    window, n_removed = apply_filters(given, ("rate",))
    assert texts(window.segments) == [" Hello.", " Thanks!"]
    assert n_removed == {"rate": 1}
    assert apply_filters(given, ()) == (given.window, {})
