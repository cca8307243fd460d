from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.error_rates import (
    ErrorCounts,
    align,
    count_errors,
    counts_characters,
    normalised_words,
)

WORDS = st.lists(st.sampled_from(["a", "bb", "ab", "ccc", "bc"]), max_size=12)


def scored(reference: str, hypothesis: str, language: str | None = "en") -> ErrorCounts:
    edits = align(normalised_words(reference, language), normalised_words(hypothesis, language))
    return count_errors(edits, counts_characters(language))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "counts"),
    [
        ("The cat sat.", "the cat sat", "en", ErrorCounts(3, 0, 0, 0, 11, 0)),
        ("the cat sat", "the bat sat", "en", ErrorCounts(3, 1, 0, 0, 11, 1)),
        ("the cat sat", "the sat", "en", ErrorCounts(3, 0, 1, 0, 11, 4)),
        ("the cat sat", "the big cat sat", "en", ErrorCounts(3, 0, 0, 1, 11, 4)),
        ("cats and dogs", "", "en", ErrorCounts(3, 0, 3, 0, 13, 13)),
        ("", "thank you", "en", ErrorCounts(0, 0, 0, 2, 0, 9)),
        ("", "", "en", ErrorCounts()),
        ("das Haus", "das haus!", "de", ErrorCounts(2, 0, 0, 0, 8, 0)),
        ("日本語です。", "日本です", "ja", ErrorCounts(5, 0, 1, 0, 5, 1)),
        ("สวัสดี", "สวัสดี", "th", ErrorCounts(4, 0, 0, 0, 4, 0)),  # its vowel signs are marks
        ("vingt et un", "vingt un", None, ErrorCounts(3, 0, 1, 0, 11, 3)),
        # marks that are letters, and points that are none
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया", "hi", ErrorCounts(2, 0, 0, 0, 13, 0)),
        ("नमस्ते दुनिया", "नमस्ता दुनिया", "hi", ErrorCounts(2, 1, 0, 0, 13, 1)),
        ("שָׁלוֹם עוֹלָם", "שלום עולם", "he", ErrorCounts(2, 0, 0, 0, 9, 0)),
        ("กิน", "กัน", "th", ErrorCounts(2, 1, 0, 0, 2, 1)),
    ],
)
def test_counts_of_errors(reference: str, hypothesis: str, language: str | None, counts: ErrorCounts) -> None:
    assert scored(reference, hypothesis, language) == counts


def test_rates() -> None:
    counts = scored("the cat sat on the mat", "a cat sat on mat mat mat")
    assert (counts.wer, counts.cer) == (counts.word_errors / 6, counts.character_errors / 22)
    assert scored("", "thank you").wer is scored("", "thank you").cer is None
    assert scored("one", "a b c d").wer == 4


def test_english_text_is_normalised() -> None:
    reference = "Mr. Brown doesn't like the colour of twenty-one (laughs) theatres, um, at $5"
    hypothesis = "mister brown does not like the color of 21 theaters at 5 dollars"
    assert scored(reference, hypothesis).word_errors == 0
    assert scored(reference, hypothesis, "de").word_errors == 9


def test_numbers_and_letters_of_other_languages_are_kept() -> None:
    assert normalised_words("Zwanzig Äpfel, (leise) l'été!", "de") == ["zwanzig", "äpfel", "l", "été"]


def test_number_of_5000_digits_can_be_normalised() -> None:
    assert normalised_words(f"Call {'1' * 5000}!", "en") == ["call", "1" * 5000]


def test_edits_group_consecutive_words() -> None:
    edits = align(list("abcdef"), list("axydge"))
    assert [(edit.kind, edit.reference, edit.hypothesis) for edit in edits] == [
        ("equal", ("a",), ("a",)),
        ("substitution", ("b", "c"), ("x", "y")),
        ("equal", ("d",), ("d",)),
        ("insertion", (), ("g",)),
        ("equal", ("e",), ("e",)),
        ("deletion", ("f",), ()),
    ]


@given(WORDS, WORDS)
def test_alignment_contains_all_words_of_both_sides(reference: list[str], hypothesis: list[str]) -> None:
    edits = align(reference, hypothesis)
    assert [word for edit in edits for word in edit.reference] == reference
    assert [word for edit in edits for word in edit.hypothesis] == hypothesis
    for edit in edits:
        assert (edit.kind == "equal") == (edit.reference == edit.hypothesis)
        assert edit.kind != "substitution" or len(edit.reference) == len(edit.hypothesis)


@given(WORDS.filter(bool), WORDS)
def test_rates_equal_those_of_jiwer(reference: list[str], hypothesis: list[str]) -> None:
    counts = count_errors(align(reference, hypothesis))
    texts = " ".join(reference), " ".join(hypothesis)
    assert counts.wer == jiwer.wer(*texts)
    assert counts.cer == jiwer.cer(*texts)


def test_counts_add_up() -> None:
    assert sum([scored("a b", "a"), scored("c d", "x d e")], ErrorCounts()) == ErrorCounts(4, 1, 1, 1, 6, 5)
