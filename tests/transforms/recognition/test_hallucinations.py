from __future__ import annotations

from dataclasses import replace

import pytest

from transforms.core.types import Segment, Untranscribed, WindowTranscript, Word
from transforms.recognition.hallucinations import (
    FILTERS,
    Filtered,
    FilterInput,
    apply_filters,
    drop_impossible_rate,
    drop_invalid_length,
    drop_without_speech,
    shorten_loops,
)


def filter_input(
    *segments: tuple[float, float, str],
    speech: tuple[tuple[float, float], ...] | None = None,
    repeats: bool = False,
    language: str = "en",
) -> FilterInput:
    made = tuple(
        Segment(start_s, end_s, text, -0.3, 0.1, 1.2, 0.0, language) for start_s, end_s, text in segments
    )
    window = WindowTranscript("id", 0, 0.0, 30.0, made, language, speech=speech)
    return FilterInput(window, (made,) if repeats else ())


def texts(filtered: Filtered) -> list[str]:
    return [segment.text for segment in filtered.segments]


def test_segments_without_speech_are_removed() -> None:
    given = filter_input(
        (0, 4, " Hello."), (10, 14, " Thanks for watching!"), (20, 22, " Bye."), speech=((1, 3), (19, 21))
    )
    assert texts(drop_without_speech(given)) == [" Hello.", " Bye."]


def test_a_click_is_no_speech_but_a_short_word_is() -> None:
    assert texts(drop_without_speech(filter_input((4, 6, " you"), speech=((0, 3.55),)))) == []
    assert texts(drop_without_speech(filter_input((4, 4.08, " you"), speech=((0, 5),)))) == [" you"]


def test_segments_that_start_a_little_after_speech_are_kept() -> None:
    assert texts(drop_without_speech(filter_input((5.5, 6.2, " yes."), speech=((0, 5.2),)))) == [" yes."]


def test_full_stops_are_listed_where_there_is_speech() -> None:
    for speech, n_listed in (((), 0), (((0.0, 0.5),), 0), (((0.0, 3.0),), 1)):
        filtered = drop_invalid_length(filter_input((0, 4, " ..."), speech=speech))
        assert (texts(filtered), len(filtered.deleted)) == ([], n_listed)


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
    assert texts(drop_impossible_rate(given)) == []


@pytest.mark.parametrize(("end_s", "kept"), [(3.2, False), (5.0, True)])
def test_the_rate_is_that_of_the_segment_with_and_without_word_times(end_s: float, kept: bool) -> None:
    given = filter_input((3, end_s, " one two three four five six seven"))
    assert bool(texts(drop_impossible_rate(given))) is kept
    for word_end_s in (3.1, 9.0):
        word = Word(3.0, word_end_s, " one two three four five six seven", 0.9)
        timed = replace(given.window.segments[0], words=(word,))
        with_words = replace(given, window=replace(given.window, segments=(timed,)))
        assert bool(texts(drop_impossible_rate(with_words))) is kept


def test_nothing_is_removed_without_speech_intervals_or_times() -> None:
    assert texts(drop_without_speech(filter_input((4, 6, " you")))) == [" you"]
    untimed = filter_input((0, 30, " you"), speech=())
    untimed = replace(untimed, window=replace(untimed.window, timestamped=False))
    assert texts(drop_without_speech(untimed)) == [" you"]


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
    given = filter_input((3, 3 + seconds, text), language=language)
    assert bool(texts(drop_impossible_rate(given))) is kept


LOOP = [(float(at_s), at_s + 1.0, " Thank you.") for at_s in range(4, 12)]


def test_words_are_those_of_the_language_of_a_segment_whatever_that_of_its_window() -> None:
    for window, language in (("en", "zh"), ("zh", "zh")):
        loop = filter_input((0, 3, "谢谢大家" * 20), repeats=True, language=language)
        loop = replace(loop, window=replace(loop.window, language=window))
        assert texts(shorten_loops(loop)) == ["谢谢大家"]
        fast = filter_input((0, 0.2, "一二三四五六七"), language=language)
        assert texts(drop_impossible_rate(replace(fast, window=replace(fast.window, language=window)))) == []


def test_of_a_loop_the_first_copy_is_kept() -> None:
    given = filter_input((0, 2, " Well, then."), *LOOP, (12, 30, " Thank"), repeats=True)
    assert texts(shorten_loops(given)) == [" Well, then.", " Thank you."]


def test_a_loop_within_a_segment_and_across_segments_is_shortened() -> None:
    copies = " a bird sings" * 3
    given = filter_input((0, 5, " Well," + copies), (5, 9, copies + " a bi"), repeats=True)
    shortened = shorten_loops(given)
    assert texts(shortened) == [" Well, a bird sings"]
    (segment,), (deleted,) = shortened
    assert 0 < segment.end_s == deleted.start_s < 5
    assert (deleted.end_s, deleted.reason) == (9, "repeats")
    assert deleted.text == " a bird sings" * 5 + " a bi"


@pytest.mark.parametrize(
    "text",
    [
        " 0 0 0 4 4 4 1 2",
        " No, no, no, no, no!",
        " Aye. Aye. Aye. Aye. The motion is carried.",
        " zero zero zero zero five five five five one one one one",
    ],
)
def test_repetitions_that_are_no_loop_of_the_decoder_are_kept(text: str) -> None:
    """Nor where decoding was stopped later in the text: a loop is at its end."""
    for speech in (None, ((0.0, 0.5),)):
        given = filter_input((0, 5, text), (5, 9, 8 * " and so on"), repeats=True, speech=speech)
        assert texts(shorten_loops(given)) == [text, " and so on"]
        given = filter_input((0, 5, text), repeats=True, speech=speech)
        assert texts(shorten_loops(given)) == [text]


def test_a_refrain_of_a_result_that_was_not_stopped_is_kept() -> None:
    assert texts(shorten_loops(filter_input(*LOOP))) == [" Thank you."] * 8


def test_a_loop_that_the_speech_is_as_long_as_is_kept() -> None:
    spoken = filter_input(*LOOP, repeats=True, speech=((4.0, 12.0),))
    assert shorten_loops(spoken) == (spoken.window.segments, ())
    for speech in (((4.0, 5.0),), ()):
        assert texts(shorten_loops(filter_input(*LOOP, repeats=True, speech=speech))) == [" Thank you."]


def test_segments_of_other_passes_are_not_part_of_a_loop() -> None:
    given = filter_input(*LOOP, (12, 13, " Thank you."), (13, 15, " Good night."))
    given = replace(given, repeated=(given.window.segments[:8],))
    assert texts(shorten_loops(given)) == [" Thank you.", " Thank you.", " Good night."]


def test_a_shortened_segment_keeps_the_words_of_its_text() -> None:
    given = filter_input((0, 5, " so" + 12 * " go"), repeats=True)
    words = tuple(Word(at * 0.1, at * 0.1 + 0.1, " so" if not at else " go", 0.9) for at in range(13))
    timed = (replace(given.window.segments[0], words=words),)
    given = FilterInput(replace(given.window, segments=timed), (timed,))
    (segment,) = shorten_loops(given).segments
    assert (segment.text, segment.words, segment.end_s) == (" so go", words[:2], 0.2)


def test_removed_segments_are_counted_and_each_filter_can_be_left_out() -> None:
    given = filter_input(
        (0, 4, " Hello."), (10, 14, " Thanks!"), (0, 0.1, " a b c d e f g"), speech=((0, 3),)
    )
    window, n_removed = apply_filters(given, ("no_speech", "rate", "repeats"))
    assert [segment.text for segment in window.segments] == [" Hello."]
    assert n_removed == {"no_speech": 1, "rate": 1, "repeats": 0}
    window, n_removed = apply_filters(given, ("rate",))
    assert [segment.text for segment in window.segments] == [" Hello.", " Thanks!"]
    assert n_removed == {"rate": 1}
    assert apply_filters(given, ()) == (given.window, {})


def test_what_the_filters_delete_is_listed_with_its_text_in_order_of_time() -> None:
    given = filter_input(
        (0, 4, " Hello."), (10, 14, " Thanks!"), (3, 3.1, " a b c d e f g"), (5, 6, " ..."), speech=((0, 4),)
    )
    before = Untranscribed(4.0, 9.0, "remainder")
    given = replace(given, window=replace(given.window, untranscribed=(before,)))
    window, _ = apply_filters(given, tuple(FILTERS))
    assert window.untranscribed == (
        Untranscribed(3.0, 3.1, "rate", " a b c d e f g"),
        before,
        Untranscribed(10.0, 14.0, "no_speech", " Thanks!"),
    )
