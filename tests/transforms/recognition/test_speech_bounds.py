from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.types import Segment, Word
from transforms.recognition.speech_bounds import held_to_speech, joined_speech, words_held_to_speech

SPEECH = ((0.0, 3.0), (20.0, 26.0), (40.0, 44.0))
"""With paddings of 0.4 s: speech from 0.4 to 2.6 s, 20.4 to 25.6 s and 40.4 to 43.6 s."""


def segment(start_s: float, end_s: float, text: str = " some words", words: tuple[Word, ...] = ()) -> Segment:
    return Segment(start_s, end_s, text, -0.1, 0.01, 1.0, 0.0, "en", None, words)


def times(segments: tuple[Segment, ...]) -> list[tuple[float, float, str]]:
    return [(one.start_s, one.end_s, one.text.strip()) for one in segments]


def held(start_s: float, end_s: float, text: str = " some words") -> list[tuple[float, float, str]]:
    return times(held_to_speech(segment(start_s, end_s, text), SPEECH))


def timed(*words: tuple[float, float, str]) -> Segment:
    parts = tuple(Word(start_s, end_s, f" {text}", 0.5) for start_s, end_s, text in words)
    return segment(words[0][0], words[-1][1], "".join(part.text for part in parts), parts)


def words_of(segments: tuple[Segment, ...]) -> list[list[tuple[float, float]]]:
    return [[(word.start_s, word.end_s) for word in one.words] for one in segments]


def test_stretches_that_touch_are_one() -> None:
    assert joined_speech([(0, 1), (1, 2), (3, 4)]) == [(0, 2), (3, 4)]
    assert joined_speech([]) == []


@pytest.mark.parametrize("start_s", [1.9, 2.3, 2.7, 3.0, 10.0, 20.0])
def test_a_segment_that_starts_before_a_pause_starts_behind_it(start_s: float) -> None:
    assert held(start_s, 25.0) == [(20.0, 25.0, "some words")]


@pytest.mark.parametrize("end_s", [26.0, 30.0, 40.3, 41.0])
def test_a_segment_that_ends_behind_a_pause_ends_before_it(end_s: float) -> None:
    assert held(20.5, end_s) == [(20.5, 26.0, "some words")]


def test_a_segment_within_one_stretch_is_cut_to_it() -> None:
    assert held(21.0, 24.0) == [(21.0, 24.0, "some words")]
    assert held(15.0, 24.0) == [(20.0, 24.0, "some words")]
    assert held(5.0, 9.0) == [(5.0, 9.0, "some words")]  # no speech: the filters decide about it


def test_a_second_of_music_before_the_speech_is_not_part_of_the_segment() -> None:
    speech = ((0.0, 1.8), (30.1, 41.0))
    (one,) = held_to_speech(segment(0.0, 40.4, " And so my fellow Americans"), speech)
    assert (one.start_s, one.end_s) == (30.1, 40.4)


NEAR = ((0.0, 3.0), (4.5, 10.5), (11.0, 13.0))


def held_near(start_s: float, end_s: float, text: str = " some words") -> list[tuple[float, float, str]]:
    return times(held_to_speech(segment(start_s, end_s, text), NEAR))


def test_a_segment_with_speech_on_both_sides_spans_a_short_pause() -> None:
    assert held_near(0.0, 10.0) == [(0.0, 10.0, "some words")]
    assert held_near(0.0, 13.0) == [(0.0, 13.0, "some words")]


def test_a_segment_keeps_short_speech_at_its_ends_that_is_all_its_own() -> None:
    """Of pauses within a sentence, too, the first part may have little of its speech."""
    speech = ((0.0, 1.8), (2.1, 3.9), (4.2, 10.4))
    (one,) = held_to_speech(segment(0.1, 10.0, " And so my fellow Americans, ask not what"), speech)
    assert (one.start_s, one.end_s) == (0.1, 10.0)
    assert held_near(2.1, 10.0) == [(4.5, 10.0, "some words")]  # it is mostly of the segment before


def test_a_text_that_needs_all_its_speech_spans_a_short_pause() -> None:
    assert held_near(1.9, 6.0, " word" * 14) == [(1.9, 6.0, ("word " * 14).strip())]


def test_a_segment_is_split_at_a_pause_where_a_sentence_ends_there() -> None:
    text = " One two three. And this is the long sentence of pi, 3.14."
    long_text = "And this is the long sentence of pi, 3.14."
    assert held(0.2, 25.8, text) == [(0.2, 3.0, "One two three."), (20.0, 25.8, long_text)]
    assert held_near(0.2, 10.4, text) == [(0.2, 3.0, "One two three."), (4.5, 10.4, long_text)]
    assert [one.text for one in held_to_speech(segment(0.2, 25.8, text), SPEECH)] == [text[:15], text[15:]]
    short = " One. And this is the long sentence of pi, which is said to be 3.14 or so."
    assert len(held(1.9, 25.8, short)) == 1  # the stretch is mostly of the segment before
    assert len(held_near(0.2, 10.4, " And this is the long sentence of pi. One.")) == 1
    close = ((0.0, 3.0), (3.4, 9.4))
    assert len(held_to_speech(segment(0.2, 9.2, text), close)) == 1


def test_a_segment_is_split_at_a_long_pause_between_words() -> None:
    assert held(0.2, 25.8, " 1, 2, 3, and it is worth mentioning in passing that this is so") == [
        (0.2, 3.0, "1, 2, 3,"),
        (20.0, 25.8, "and it is worth mentioning in passing that this is so"),
    ]
    assert held(0.0, 23.0) == [(0.0, 3.0, "some"), (20.0, 23.0, "words")]
    assert held(0.0, 23.0, " word") == [(20.0, 23.0, "word")]


def test_segments_of_three_stretches_are_split_twice() -> None:
    text = " One two, buckle. Three four, knock at the door again. Five six, pick up."
    assert [(start_s, end_s) for start_s, end_s, _ in held(0.0, 44.0, text)] == list(SPEECH)


def test_a_word_is_held_to_one_stretch() -> None:
    """The first word of a segment is where it ends, the last one where it starts."""
    (one,) = words_held_to_speech(timed((2.9, 20.9, "a"), (20.9, 21.2, "b")), SPEECH, split=True)
    assert words_of((one,)) == [[(20.0, 20.9), (20.9, 21.2)]]
    assert (one.start_s, one.end_s) == (20.0, 21.2)
    (one,) = words_held_to_speech(timed((24.0, 24.5, "a"), (24.5, 40.9, "b")), SPEECH, split=True)
    assert words_of((one,)) == [[(24.0, 24.5), (24.5, 26.0)]]


def test_a_segment_is_split_between_words_on_both_sides_of_a_long_pause() -> None:
    spoken = timed((0.5, 1.0, "a"), (1.0, 2.0, "b"), (20.2, 21.0, "c"), (41.0, 41.5, "d"))
    found = words_held_to_speech(spoken, SPEECH, split=True)
    assert times(found) == [(0.5, 2.0, "a b"), (20.2, 21.0, "c"), (41.0, 41.5, "d")]
    assert "".join(one.text for one in found) == spoken.text
    assert words_of(found) == [[(0.5, 1.0), (1.0, 2.0)], [(20.2, 21.0)], [(41.0, 41.5)]]
    (whole,) = words_held_to_speech(spoken, SPEECH, split=False)
    assert (whole.start_s, whole.end_s) == (0.5, 41.5)
    near = ((0.0, 3.0), (4.5, 10.5))
    assert len(words_held_to_speech(timed((0.5, 2.9, "a"), (4.6, 6.0, "b")), near, split=True)) == 1
    assert len(words_held_to_speech(timed((0.5, 2.9, "a."), (4.6, 6.0, "b")), near, split=True)) == 2


def test_words_that_have_hardly_any_speech_on_a_side_are_moved() -> None:
    early = timed((2.58, 2.8, "a"), (20.6, 21.0, "b"))
    assert words_of(words_held_to_speech(early, SPEECH, split=True)) == [[(20.0, 20.0), (20.6, 21.0)]]
    late = timed((21.0, 22.0, "a"), (40.0, 40.45, "b"))
    assert words_of(words_held_to_speech(late, SPEECH, split=True)) == [[(21.0, 22.0), (26.0, 26.0)]]


@pytest.mark.parametrize(
    ("first", "probability", "next_word", "strays"),
    [
        ("Oh", 0.2, "my", True),
        ("Seven", 0.9, "my", False),
        ("Oh,", 0.2, "my", False),
        ("Oh", 0.2, "My", False),
    ],
)
def test_an_unsure_word_of_a_sentence_that_goes_on_behind_a_long_pause_is_moved_there(
    first: str, probability: float, next_word: str, strays: bool
) -> None:
    spoken = timed((0.5, 1.5, first), (20.6, 21.0, next_word))
    one, other = spoken.words
    spoken = replace(spoken, words=(replace(one, probability=probability), other))
    found = words_held_to_speech(spoken, SPEECH, split=True)
    assert len(found) == (1 if strays else 2)
    assert found[0].start_s == (20.0 if strays else 0.5)
    assert "".join(part.text for part in found) == spoken.text


def test_an_unsure_word_behind_a_long_pause_is_moved_to_its_sentence() -> None:
    spoken = timed((20.6, 21.0, "my"), (40.6, 41.5, "oh"))
    one, other = spoken.words
    (found,) = words_held_to_speech(
        replace(spoken, words=(one, replace(other, probability=0.2))), SPEECH, split=True
    )
    assert (found.start_s, found.end_s) == (20.6, 26.0)


def test_words_without_speech_are_unchanged() -> None:
    lone = timed((10.0, 11.0, "a"), (11.0, 12.0, "b"))
    assert words_held_to_speech(lone, SPEECH, split=True) == (lone,)
    assert words_held_to_speech(lone, (), split=True) == (lone,)


@settings(deadline=None)
@given(st.lists(st.floats(0, 50), min_size=2, max_size=16, unique=True), st.booleans())
def test_words_stay_in_order_and_keep_their_text(places: list[float], split: bool) -> None:
    bounds = list(pairwise(sorted(places)))
    spoken = timed(*((start_s, end_s, f"w{n}") for n, (start_s, end_s) in enumerate(bounds)))
    found = words_held_to_speech(spoken, SPEECH, split=split)
    assert "".join(one.text for one in found) == spoken.text
    words = [word for one in found for word in one.words]
    assert [word.text for word in words] == [word.text for word in spoken.words]
    assert all(one.end_s <= two.start_s for one, two in pairwise(words))
    assert all(one.start_s <= one.end_s for one in words)
    assert split or len(found) == 1
    assert all(replace(one, text="", words=(), start_s=0, end_s=0) == segment(0, 0, "") for one in found)
