from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.text import split_words, word_key
from transforms.core.types import Segment, WindowTranscript, Word
from transforms.merging.timed_words import (
    SEGMENT_SLACK_S,
    SPOKEN_SLACK_S,
    WINDOW_SLACK_S,
    WORD_SLACK_S,
    timed_words,
)


def window(
    *segments: tuple[float, float, str], language: str = "en", timestamped: bool = True
) -> WindowTranscript:
    made = tuple(Segment(start_s, end_s, text, 0.0, 0.0, 1.0, 0.0) for start_s, end_s, text in segments)
    return WindowTranscript("a", 3, 0.0, 30.0, made, language, timestamped=timestamped)


@given(st.text(), st.sampled_from(["en", "zh", "ja", "th", "my"]))
def test_pieces_joined_are_the_text(text: str, language: str) -> None:
    assert "".join(split_words(text, language)) == (text if text.strip() else "")


@pytest.mark.parametrize(
    ("language", "text", "pieces"),
    [
        ("en", " The cat, he said - sat.", (" The", " cat,", " he", " said -", " sat.")),
        ("fr", " « Oui » dit-il", (" « Oui »", " dit-il")),
        ("en", " ... and so", (" ... and", " so")),
        ("en", " ...", (" ...",)),
        ("en", " Yes \n", (" Yes \n",)),
        ("en", "  ", ()),
        ("zh", "你好,世界。", ("你", "好,", "世", "界。")),
        ("ja", "彼は「はい」と言う", ("彼", "は", "「は", "い」", "と", "言", "う")),
        ("ja", "私のiPhone 15です", ("私", "の", "iPhone", " 15", "で", "す")),
        ("th", "ที่นี่", ("ที่", "นี่")),
        ("ko", " 안녕 하세요", (" 안녕", " 하세요")),
    ],
)
def test_splits_at_spaces_or_at_characters(language: str, text: str, pieces: tuple[str, ...]) -> None:
    assert split_words(text, language) == pieces


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" The", "the,"),
        (" Straße", "STRASSE"),
        ("\ufb01ne", "fine"),
        ("it's", "It\u2019s"),
        ("\uff11", "1"),
    ],
)
def test_case_punctuation_and_form_do_not_make_another_word(one: str, other: str) -> None:
    assert word_key(one) == word_key(other)


@pytest.mark.parametrize(("one", "other"), [("cat", "cats"), ("...", "?"), ("कि", "के"), ("5", "6")])
def test_other_letters_marks_and_digits_do(one: str, other: str) -> None:
    assert word_key(one) != word_key(other)


def test_a_word_takes_as_much_time_as_text() -> None:
    words = timed_words(window((10.0, 20.0, " a bbbb ccccc"), (21.0, 21.0, " d")))
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        (" a", 10.0, 11.0),
        (" bbbb", 11.0, 15.0),
        (" ccccc", 15.0, 20.0),
        (" d", 21.0, 21.0),
    ]
    assert [word.source for word in words] == [(3, 0), (3, 0), (3, 0), (3, 1)]
    assert words[1].mid_s == 13.0


def test_times_of_a_window_without_timestamps_are_worth_less() -> None:
    spoken = (0.0, 30.0, " so it is")
    assert {word.slack_s for word in timed_words(window(spoken))} == {SEGMENT_SLACK_S}
    assert {word.slack_s for word in timed_words(window(spoken, timestamped=False))} == {WINDOW_SLACK_S}
    assert WINDOW_SLACK_S > SEGMENT_SLACK_S


def test_segments_without_text_have_no_words() -> None:
    assert timed_words(window((0.0, 1.0, ""), (1.0, 2.0, " "))) == []


def test_words_are_spread_over_the_speech_in_their_segment() -> None:
    silent_start = replace(
        window((0.0, 20.0, " aaaa bbbb cccc dddd")), speech=((4.0, 6.0), (10.0, 12.0), (19.5, 30.0))
    )
    words = timed_words(silent_start)
    assert [(word.start_s, word.end_s) for word in words] == [
        pytest.approx((4.0, 5.125)),
        pytest.approx((5.125, 10.25)),  # across the pause
        pytest.approx((10.25, 11.375)),
        pytest.approx((11.375, 20.0)),
    ]


def test_a_word_that_ends_with_the_speech_does_not_reach_over_the_pause() -> None:
    words = timed_words(replace(window((0.0, 12.0, " aaaa bbbb")), speech=((2.0, 4.0), (10.0, 12.0))))
    assert [(word.start_s, word.end_s) for word in words] == [(2.0, 4.0), (10.0, 12.0)]


def test_speech_outside_the_segment_tells_nothing() -> None:
    (word,) = timed_words(replace(window((5.0, 6.0, " a")), speech=((0.0, 4.0),)))
    assert (word.start_s, word.end_s) == (5.0, 6.0)


def test_words_spread_over_speech_are_less_far_off() -> None:
    untimed = window((0.0, 30.0, " so it is"), timestamped=False)
    gated = replace(untimed, speech=((3.0, 5.0),))
    assert {word.slack_s for word in timed_words(gated)} == {SPOKEN_SLACK_S}
    assert SEGMENT_SLACK_S < SPOKEN_SLACK_S < WINDOW_SLACK_S


def timed(segment_text: str, *words: tuple[float, float, str], language: str = "en") -> WindowTranscript:
    plain = window((1.0, 9.0, segment_text), language=language)
    made = tuple(Word(start_s, end_s, text, 0.9) for start_s, end_s, text in words)
    return replace(plain, segments=(replace(plain.segments[0], words=made),))


def test_the_models_words_give_their_times() -> None:
    said = timed(" The cat - sat.", (1.0, 1.4, " The"), (1.4, 2.0, " cat -"), (5.0, 5.5, " sat."))
    words = timed_words(said)
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        (" The", 1.0, 1.4),
        (" cat -", 1.4, 2.0),
        (" sat.", 5.0, 5.5),
    ]
    assert [word.slack_s for word in words] == [
        pytest.approx(WORD_SLACK_S + half) for half in (0.2, 0.3, 0.25)
    ]
    assert [word.offset for word in words] == [0, 4, 10]


def test_pieces_of_the_models_words_share_their_time() -> None:
    words = timed_words(timed("客観的な", (2.0, 5.0, "客観的"), (5.0, 5.5, "な"), language="ja"))
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        ("客", 2.0, 3.0),
        ("観", 3.0, 4.0),
        ("的", 4.0, 5.0),
        ("な", 5.0, 5.5),
    ]
    joined = timed_words(timed(" e-mail it", (1.0, 2.0, " e"), (2.0, 4.0, "-mail"), (4.0, 5.0, " it")))
    assert [(word.text, word.start_s, word.end_s) for word in joined] == [
        (" e-mail", 1.0, 4.0),
        (" it", 4.0, 5.0),
    ]
