from __future__ import annotations

import pytest

from transforms.recognition.loops import find_loop, is_spoken

THANKS = " Thank you."


def test_the_repetition_at_the_end_is_found_with_the_part_of_a_copy_behind_it() -> None:
    loop = find_loop(" Well," + 4 * " a bird sings" + " a bird", "en")
    assert loop is not None
    assert (loop.start, loop.first_stop) == (6, 19)
    assert loop.phrase == " a bird sings"
    assert loop.copies == 3 * " a bird sings" + " a bird"
    assert loop.n_copies == pytest.approx(4 + 2 / 3)


def test_case_punctuation_and_an_incomplete_last_word_do_not_matter() -> None:
    loop = find_loop(" Thank you. thank you, Thank you! Thank y\ufffd", "en")
    assert loop is not None
    assert (loop.phrase, loop.n_copies) == (THANKS, 4.0)


def test_the_shortest_phrase_is_found() -> None:
    loop = find_loop(20 * " go", "en")
    assert loop is not None
    assert (loop.phrase, loop.n_copies) == (" go", 20.0)


def test_characters_of_a_language_without_spaces_are_words() -> None:
    loop = find_loop("さて" + 6 * "ありがとう", "ja")
    assert loop is not None
    assert (loop.start, loop.phrase, loop.n_copies) == (2, "ありがとう", 6.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ...",
        " 0 0 0 4 4 4 1 2",
        " He said no, no, no.",
        " 5 5 5 5",
        2 * " a sentence of some length",
        4 * " a sentence of some length" + " and another end",
    ],
)
def test_what_does_not_end_in_a_long_repetition_is_no_loop(text: str) -> None:
    assert find_loop(text, "en") is None


@pytest.mark.parametrize(
    ("text", "speech_s", "spoken"),
    [
        (10 * THANKS, 8.0, True),
        (10 * THANKS, 2.0, False),  # five copies a second
        (10 * THANKS, 28.0, False),  # a copy in three seconds: other words were said
        (20 * " Aye.", 24.0, True),  # one by one, each with a pause about it
        (20 * " 0", 14.0, True),
        (20 * " 0", 2.0, False),
        (12 * "ありがとう。", 12.0, True),
        (12 * "ありがとう。", 1.0, False),
    ],
)
def test_a_loop_is_spoken_if_it_takes_as_long_as_the_speech(text: str, speech_s: float, spoken: bool) -> None:
    loop = find_loop(text, "ja" if not text.isascii() else "en")
    assert loop is not None
    assert is_spoken(loop, speech_s) is spoken
