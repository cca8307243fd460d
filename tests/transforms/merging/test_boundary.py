"""Each rule of the cut, by a case that goes wrong without it. The shared seconds are 25 to 30."""

from __future__ import annotations

import pytest

from transforms.core.text import word_key
from transforms.merging.boundary import Cut, CutKind, find_cut
from transforms.merging.timed_words import TimedWord


def said(start_s: float, text: str, every_s: float = 0.4, slack_s: float = 1.0) -> list[TimedWord]:
    """Words of 0.3 s each, one every `every_s`."""
    starts = [start_s + n * every_s for n in range(len(text.split()))]
    return [
        TimedWord(f" {word}", word_key(word), at_s, at_s + 0.3, slack_s, (0, 0))
        for at_s, word in zip(starts, text.split(), strict=True)
    ]


def join(
    left: list[TimedWord], right: list[TimedWord], start_s: float = 25.0, end_s: float = 30.0
) -> tuple[str, Cut]:
    """The text on both sides of the cut, and the cut."""
    cut = find_cut(left, right, start_s, end_s)
    before, after = (
        "".join(word.text for word in words).strip() for words in (left[: cut.n_left], right[cut.n_right :])
    )
    return f"{before} | {after}", cut


def test_cuts_in_the_run_nearest_the_middle() -> None:
    left = said(25.0, "one two x three four y five six z seven eight")
    right = said(25.0, "one two a three four b five six c seven eight")
    text, cut = join(left, right)
    assert text == "one two x three four y five | six c seven eight"
    assert cut.boundary.kind is CutKind.RUN
    assert cut.boundary.time_s == pytest.approx(27.7)
    assert cut.boundary.agreement == pytest.approx(16 / 22)


def test_a_run_off_the_middle_is_better_than_a_pause_at_it() -> None:
    text, cut = join(said(25.0, "so it is") + said(28.0, "gone"), said(25.1, "so it is") + said(28.1, "lone"))
    assert cut.boundary.kind is CutKind.RUN
    assert text == "so it | is lone"


def test_one_word_in_common_is_written_once_though_the_middle_is_between_its_times() -> None:
    assert join(said(27.0, "so"), said(27.5, "so"))[0].count("so") == 1  # a cut by time at 27.5 writes both
    assert join(said(27.6, "so"), said(27.0, "so"))[0].count("so") == 1  # and here none


def test_without_a_run_cuts_in_the_pause() -> None:
    left = said(25.2, "alpha beta") + said(28.2, "gamma delta")
    right = said(25.2, "epsilon zeta") + said(28.2, "eta theta")
    text, cut = join(left, right)
    assert (text, cut.boundary.kind) == ("alpha beta | eta theta", CutKind.PAUSE)
    assert cut.boundary.time_s == 27.5
    assert cut.boundary.agreement == 0.0


def test_a_pause_off_the_middle_is_better_than_the_middle() -> None:
    left = said(25.0, "a b c d e f g") + said(28.5, "h i j k")
    right = said(25.2, "m n o p q r s") + said(28.6, "t u v")
    text, cut = join(left, right)
    assert (text, cut.boundary.kind) == ("a b c d e f g | t u v", CutKind.PAUSE)
    assert cut.boundary.time_s == pytest.approx(27.9)


def test_without_a_pause_cuts_in_the_middle() -> None:
    text, cut = join(said(25.0, "a b c d e f g h i j k l"), said(25.2, "m n o p q r s t u v w x"))
    assert (text, cut.boundary.kind) == ("a b c d e f | s t u v w x", CutKind.MIDDLE)
    assert cut.boundary.time_s == pytest.approx(27.4, abs=0.3)


@pytest.mark.parametrize("is_left", [True, False])
def test_if_one_side_is_empty_keeps_the_other(is_left: bool) -> None:
    words, none = said(25.0, "a b c d e f g h i j"), said(31.5 if is_left else 20.0, "z")
    text, cut = join(words, none) if is_left else join(none, words)
    assert text == ("a b c d e f g h i j | z" if is_left else "z | a b c d e f g h i j")
    assert cut.boundary.kind is CutKind.EMPTY
    assert cut.boundary.time_s == (30.0 if is_left else 25.0)
    assert cut.boundary.agreement == 0.0


def test_shared_silence_is_agreement() -> None:
    text, cut = join(said(20.0, "before"), said(32.0, "after"))
    assert text == "before | after"
    assert (cut.boundary.kind, cut.boundary.agreement, cut.boundary.time_s) == (CutKind.PAUSE, 1.0, 27.5)


@pytest.mark.parametrize("gap_s", [0.0, 20.0])
def test_nothing_shared_is_kept_whole(gap_s: float) -> None:
    left, right = said(28.0, "a b c d e"), said(29.5 + gap_s, "a b c d e")
    text, cut = join(left, right, start_s=30.0 + gap_s, end_s=30.0)
    assert text == "a b c d e | a b c d e"
    assert (cut.boundary.kind, cut.boundary.time_s) == (CutKind.DISJOINT, 30.0 + gap_s / 2)


def test_case_and_punctuation_do_not_hinder_a_match() -> None:
    _, cut = join(said(26.0, "And then, he said: stop."), said(26.0, "and then he Said stop"))
    assert (cut.boundary.kind, cut.boundary.agreement) == (CutKind.RUN, 1.0)


def test_words_far_apart_in_time_are_not_the_same() -> None:
    left = said(22.0, "it was then that we") + said(25.1, "thank you")
    right = said(29.2, "thank you") + said(30.6, "bye")
    assert join(left, right)[0] == "it was then that we thank you | thank you bye"


def test_of_repeats_those_are_the_same_that_are_near_in_time() -> None:
    left = said(25.2, "go on") + said(27.6, "go on") + said(29.0, "now")
    right = said(27.7, "go on") + said(29.1, "now")  # it did not catch the first
    assert join(left, right)[0].replace(" | ", " ") == "go on go on now"


def test_of_matches_that_are_as_many_the_nearest_in_time_count() -> None:
    left, right = said(26.5, "go on") + said(28.0, "go on"), said(26.6, "go on") + said(30.5, "then")
    assert join(left, right)[1].boundary.time_s == pytest.approx(26.9, abs=0.1)


def test_more_words_can_match_than_both_windows_recognised() -> None:
    left, right = said(22.1, "no " * 11, 0.75), said(25.1, "no " * 11, 0.75)  # 15 in all, 7 of them shared
    assert join(left, right)[0].count("no") == 15


def test_a_repeat_that_ends_in_the_shared_seconds_is_counted_from_its_end() -> None:
    left = said(24.2, "yes yes yes yes yes yes") + said(26.6, "and so we go")
    right = said(24.9, "yes yes yes yes") + said(26.5, "and so we go")  # half a second early
    assert join(left, right)[0].count("yes") == 6


def test_words_that_one_window_added_or_missed_do_not_break_the_alignment() -> None:
    text, cut = join(said(25.0, "a b c um d e f g h i"), said(25.0, "a b c d e f g er h i"))
    assert cut.boundary.agreement == pytest.approx(18 / 20)
    assert text == "a b c um d e f | g er h i"


def test_a_word_before_the_shared_seconds_by_less_than_its_slack_can_be_the_same() -> None:
    text, cut = join(said(23.9, "we are here"), said(25.0, "are here now then"))
    assert text == "we are | here now then"
    assert cut.boundary.kind is CutKind.RUN


def test_exclusive_words_are_never_candidates() -> None:
    left, right = said(22.0, "here we are"), said(25.0, "here we are")  # 3 s apart, and a run of three
    assert join(left, right)[0] == "here we are | here we are"
    left, right = said(28.7, "here we are"), said(31.0, "here we are")
    assert join(left, right)[0] == "here we are | here we are"


def test_words_cut_by_the_windows_ends_are_not_written() -> None:
    left = said(25.0, "lo the old man and the sea was his bo")
    right = said(25.0, "ow the old man and the sea was his boat he")
    assert join(left, right)[0] == "lo the old man and the | sea was his boat he"


def test_a_cut_word_alone_is_not_written() -> None:
    left, right = said(24.5, "the end") + said(29.6, "yo"), said(25.1, "nd") + said(29.7, "you there")
    assert join(left, right)[0] == "the end | you there"


def test_a_sentence_that_one_window_skipped_outweighs_a_run() -> None:
    spoken = said(25.1, "well then") + said(27.5, "this is what he said")
    assert join(spoken, said(25.1, "well then") + said(30.5, "ok"))[0].count("this is what he said") == 1
    spoken = said(25.1, "this is what he said") + said(29.0, "well then")
    text, cut = join(said(24.0, "ok") + said(29.0, "well then"), spoken)
    assert (text, cut.boundary.kind) == ("ok | this is what he said well then", CutKind.PAUSE)


def test_exclusive_words_timed_into_the_shared_seconds_are_kept() -> None:
    text, cut = join(said(24.2, "he came home late"), said(29.0, "she was there first"))
    assert text == "he came home late | she was there first"
    assert cut.boundary.kind is CutKind.PAUSE


def test_a_short_overlap_does_not_lose_words_whose_times_cross() -> None:
    left, right = said(24.4, "at the end", 0.3), said(24.9, "we begin", 0.3)
    assert join(left, right, start_s=25.0, end_s=25.5)[0] == "at the end | we begin"


def test_rough_times_match_words_far_apart() -> None:
    left = said(10.0, "a b c d e f g h", 2.5, slack_s=10.0)  # spread over the window
    right = said(25.0, "f g h i j k", 0.4)
    text, cut = join(left, right)
    assert text in {"a b c d e f | g h i j k", "a b c d e f g | h i j k"}
    assert cut.boundary.kind is CutKind.RUN


def test_rough_times_are_no_reason_to_drop_a_word() -> None:
    left = said(10.0, "a b c d e f g h", 2.5, slack_s=10.0)
    right = said(25.0, "m n o p q", 1.0, slack_s=10.0)
    assert join(left, right)[0] == "a b c d e f g h | m n o p q"


def test_where_the_left_side_stopped_early_the_right_one_is_not_weighed_against_its_silence() -> None:
    left = said(23.0, "has never been") + said(25.0, "surpassed")
    right = said(25.1, "printing then for our purpose may be considered", every_s=0.35)
    text, _ = join(left, right)
    assert text == "has never been surpassed | printing then for our purpose may be considered"


def test_one_garbled_word_beside_the_last_of_a_side_that_stopped_is_the_same_word() -> None:
    left = said(23.0, "has never been") + said(25.0, "surpassed")
    right = said(25.0, "passed") + said(28.9, "printing then")
    assert join(left, right)[0].replace(" |", "") == "has never been surpassed printing then"


def test_a_left_side_before_a_silence_did_not_stop_early() -> None:
    left = said(23.2, "it's 25 dollars", every_s=1.0)
    right = said(25.0, "it is twenty five dollars")
    text, _ = join(left, right)
    assert text.count("dollars") == 1


def test_without_a_run_the_right_side_does_not_begin_in_the_middle_of_a_segment_timed_from_its_edge() -> None:
    left = said(24.0, "the lazy dog") + said(27.0, "hello world", every_s=1.0)
    right = said(25.0, "the quick brown fox jumps over", every_s=1.0)  # really said from 30 s on
    text, cut = join(left, right)
    assert text.endswith("| the quick brown fox jumps over")
    assert cut.boundary.kind is not CutKind.RUN
