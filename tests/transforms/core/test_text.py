from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.text import split_words, word_key


@given(st.text(), st.sampled_from(["en", "zh", "ja", "th", "my"]))
def test_words_joined_are_the_text(text: str, language: str) -> None:
    assert "".join(split_words(text, language)) == (text if text.strip() else "")


@pytest.mark.parametrize(
    ("language", "text", "words"),
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
def test_text_is_split_at_spaces_or_at_characters(language: str, text: str, words: tuple[str, ...]) -> None:
    assert split_words(text, language) == words


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
def test_the_key_ignores_case_punctuation_and_compatibility_forms(one: str, other: str) -> None:
    assert word_key(one) == word_key(other)


@pytest.mark.parametrize(("one", "other"), [("cat", "cats"), ("...", "?"), ("कि", "के"), ("5", "6")])
def test_the_key_differs_for_other_letters_marks_and_digits(one: str, other: str) -> None:
    assert word_key(one) != word_key(other)
