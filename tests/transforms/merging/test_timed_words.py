from __future__ import annotations

from dataclasses import replace

import pytest

from transforms.core.types import Segment, WindowTranscript, Word
from transforms.merging.timed_words import (
    SEGMENT_SLACK_S,
    SPEECH_SLACK_S,
    WINDOW_SLACK_S,
    WORD_SLACK_S,
    timed_words,
)


def window(
    *segments: tuple[float, float, str], language: str = "en", timestamped: bool = True
) -> WindowTranscript:
    made = tuple(Segment(start_s, end_s, text, 0.0, 0.0, 1.0, 0.0) for start_s, end_s, text in segments)
    return WindowTranscript("a", 3, 0.0, 30.0, made, language, timestamped=timestamped)


def test_words_share_the_time_of_a_segment_by_their_length() -> None:
    words = timed_words(window((10.0, 20.0, " a bbbb ccccc"), (21.0, 21.0, " d")))
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        (" a", 10.0, 11.0),
        (" bbbb", 11.0, 15.0),
        (" ccccc", 15.0, 20.0),
        (" d", 21.0, 21.0),
    ]
    assert [word.source for word in words] == [(3, 0), (3, 0), (3, 0), (3, 1)]
    assert words[1].mid_s == 13.0


def test_words_of_a_window_without_timestamps_have_more_slack() -> None:
    segment = (0.0, 30.0, " so it is")
    assert {word.slack_s for word in timed_words(window(segment))} == {SEGMENT_SLACK_S}
    assert {word.slack_s for word in timed_words(window(segment, timestamped=False))} == {WINDOW_SLACK_S}
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


def test_a_word_that_ends_with_the_speech_does_not_extend_over_the_pause() -> None:
    words = timed_words(replace(window((0.0, 12.0, " aaaa bbbb")), speech=((2.0, 4.0), (10.0, 12.0))))
    assert [(word.start_s, word.end_s) for word in words] == [(2.0, 4.0), (10.0, 12.0)]


def test_speech_outside_the_segment_is_ignored() -> None:
    (word,) = timed_words(replace(window((5.0, 6.0, " a")), speech=((0.0, 4.0),)))
    assert (word.start_s, word.end_s) == (5.0, 6.0)


def test_words_spread_over_speech_have_less_slack() -> None:
    untimed = window((0.0, 30.0, " so it is"), timestamped=False)
    with_speech = replace(untimed, speech=((3.0, 5.0),))
    assert {word.slack_s for word in timed_words(with_speech)} == {SPEECH_SLACK_S}
    assert SEGMENT_SLACK_S < SPEECH_SLACK_S < WINDOW_SLACK_S


def timed(segment_text: str, *words: tuple[float, float, str], language: str = "en") -> WindowTranscript:
    plain = window((1.0, 9.0, segment_text), language=language)
    made = tuple(Word(start_s, end_s, text, 0.9) for start_s, end_s, text in words)
    return replace(plain, segments=(replace(plain.segments[0], words=made),))


def test_word_times_of_the_model_are_used() -> None:
    transcript = timed(" The cat - sat.", (1.0, 1.4, " The"), (1.4, 2.0, " cat -"), (5.0, 5.5, " sat."))
    words = timed_words(transcript)
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        (" The", 1.0, 1.4),
        (" cat -", 1.4, 2.0),
        (" sat.", 5.0, 5.5),
    ]
    assert [word.slack_s for word in words] == [
        pytest.approx(WORD_SLACK_S + half) for half in (0.2, 0.3, 0.25)
    ]
    assert [word.offset for word in words] == [0, 4, 10]


def test_parts_of_a_word_of_the_model_share_its_time() -> None:
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


def test_words_are_those_of_the_language_of_a_segment_whatever_that_of_its_window() -> None:
    mixed = window((0.0, 4.0, "谢谢大家"))
    (segment,) = mixed.segments
    in_chinese = replace(mixed, segments=(replace(segment, language="zh"),))
    assert [word.text for word in timed_words(in_chinese)] == list("谢谢大家")
    assert len(timed_words(mixed)) == 1
