from __future__ import annotations

from dataclasses import replace

import pytest

from transforms.core.types import Segment, WindowTranscript, Word
from transforms.recognition.hallucinations import (
    FilterInput,
    apply_filters,
    drop_impossible_rate,
    drop_invalid_length,
    repeats,
    drop_without_speech,
)


def heard(
    *segments: tuple[float, float, str],
    speech: tuple[tuple[float, float], ...] | None = None,
    repeats: bool = False,
    language: str = "en",
) -> FilterInput:
    made = tuple(Segment(start_s, end_s, text, -0.3, 0.1, 1.2, 0.0) for start_s, end_s, text in segments)
    return FilterInput(WindowTranscript("id", 0, 0.0, 30.0, made, language, speech=speech), repeats)


def texts(segments: tuple[Segment, ...]) -> list[str]:
    return [segment.text for segment in segments]


def test_text_where_nobody_speaks_goes() -> None:
    said = heard(
        (0, 4, " Hello."), (10, 14, " Thanks for watching!"), (20, 22, " Bye."), speech=((1, 3), (19, 21))
    )
    assert texts(drop_without_speech(said)) == [" Hello.", " Bye."]


def test_a_click_is_no_speech_but_a_short_word_is() -> None:
    assert drop_without_speech(heard((4, 6, " you"), speech=((0, 3.55),))) == ()
    assert len(drop_without_speech(heard((4, 4.08, " you"), speech=((0, 5),)))) == 1


def test_times_that_are_a_little_off_are_no_silence() -> None:
    assert len(drop_without_speech(heard((5.5, 6.2, " yes."), speech=((0, 5.2),)))) == 1


def test_text_after_the_end_of_the_audio_goes() -> None:
    said = heard((0, 2.5, " Hello."), (30, 30, " Thanks for watching!"), speech=((0, 2.4),))
    assert texts(drop_invalid_length(said)) == [" Hello."]


def test_text_without_a_letter_goes() -> None:
    said = heard((0, 2, " ..."), (2, 4, " . . ♪"), (4, 5, " 5!"), (5, 6, " そう。"), (6, 7, " हाँ"))
    assert texts(drop_invalid_length(said)) == [" 5!", " そう。", " हाँ"]


def test_a_segment_longer_than_its_window_goes() -> None:
    assert texts(drop_invalid_length(heard((0, 30, " all of it"), (0, 30.5, " more")))) == [" all of it"]


def test_a_translation_is_judged_by_its_words() -> None:
    said = heard((3, 4, " one two three four five six seven eight nine ten eleven"), language="ja")
    assert drop_impossible_rate(said) == ()


def test_words_that_were_timed_wrongly_lose_no_text() -> None:
    said = heard((3, 3.2, " one two three four five six seven"))
    word = Word(3.0, 3.2, " one two three four five six seven", 0.9)
    timed = replace(said.window.segments[0], words=(word,))
    assert len(drop_impossible_rate(replace(said, window=replace(said.window, segments=(timed,))))) == 1


def test_where_nobody_listened_nothing_is_known() -> None:
    assert len(drop_without_speech(heard((4, 6, " you")))) == 1
    untimed = heard((0, 30, " you"), speech=())
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
def test_nobody_speaks_that_fast(text: str, seconds: float, language: str, kept: bool) -> None:
    assert bool(drop_impossible_rate(heard((3, 3 + seconds, text), language=language))) is kept


def test_what_is_said_over_and_over_is_said_once() -> None:
    said = heard(
        (0, 2, " Well, then."),
        (2, 4, " Thank you."),
        (4, 6, " Thank you."),
        (6, 8, " thank you"),
        (8, 9, " Good night."),
        repeats=True,
    )
    assert texts(repeats(said)) == [" Well, then.", " Thank you.", " Good night."]


def test_repeats_inside_a_segment_and_across() -> None:
    said = heard((0, 5, " a b c a b c a b"), (5, 9, " c a b c d"), repeats=True)
    assert texts(repeats(said)) == [" a b c", " d"]


def test_a_refrain_that_the_model_is_sure_of_stays() -> None:
    said = heard(*[(second, second + 1, " Holy, holy.") for second in range(6)])
    assert len(repeats(said)) == 6


def test_twice_is_no_repetition() -> None:
    said = heard((0, 2, " no no"), (2, 4, " yes yes no"), repeats=True)
    assert texts(repeats(said)) == [" no no", " yes yes no"]


def test_a_segment_that_was_shortened_has_no_words_of_its_own() -> None:
    said = heard((0, 5, " go go go go"), repeats=True)
    word = Word(0.0, 1.0, " go", 0.9)
    timed = replace(said.window.segments[0], words=(word,) * 4)
    said = replace(said, window=replace(said.window, segments=(timed,)))
    (segment,) = repeats(said)
    assert (segment.text, segment.words) == (" go", ())


def test_filters_are_counted_and_each_can_be_left_out() -> None:
    said = heard((0, 4, " Hello."), (10, 14, " Thanks!"), (0, 0.1, " a b c d e f g"), speech=((0, 3),))
    window, taken = apply_filters(said, ("no_speech", "rate", "repeats"))
    assert texts(window.segments) == [" Hello."]
    assert taken == {"no_speech": 1, "rate": 1, "repeats": 0}
    window, taken = apply_filters(said, ("rate",))
    assert texts(window.segments) == [" Hello.", " Thanks!"]
    assert taken == {"rate": 1}
    assert apply_filters(said, ()) == (said.window, {})
