from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer

from pipelines.evaluation.normaliser import Normaliser

LATIN = st.text(st.characters(max_codepoint=0x36F, exclude_characters="µ"))  # which is a Greek letter
VIETNAMESE_AND_OTHERS = "Xin chào các bạn! İstanbul, Čeština; Ẹ̀kọ́ (yo) [x] n̂ Straße l'été 3½ €5 ﬁn e\u0301"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते, दुनिया!", ["नमस्ते", "दुनिया"]),
        ("বাংলা ভাষা।", ["বাংলা", "ভাষা"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("ދިވެހި ބަސް", ["ދިވެހި", "ބަސް"]),
        ("สวัสดีครับ", ["สวัสดีครับ"]),
        ("សួស្តី", ["សួស្តី"]),
        ("שָׁלוֹם עוֹלָם", ["שלום", "עולם"]),
        ("مَرْحَبًا بِالعَالَم", ["مرحبا", "بالعالم"]),
        ("за́мок", ["замок"]),
        ("ёлка и йод", ["ёлка", "и", "йод"]),
        ("葛\U000e0100城", ["葛城"]),
        ("a\u20dd ☀\ufe0f b", ["a", "b"]),
    ],
)
def test_marks_are_parts_of_words(text: str, words: list[str]) -> None:
    assert Normaliser()(text).split() == words


def test_characters_keep_their_marks() -> None:
    assert Normaliser(split_letters=True)("สวัสดี").split() == ["ส", "วั", "ส", "ดี"]


@pytest.mark.parametrize("text", ["", VIETNAMESE_AND_OTHERS, "\u0301a", "日本語です。", "ひらがな (笑)"])
@pytest.mark.parametrize("split_letters", [False, True])
def test_other_texts_are_normalised_as_in_the_paper(text: str, split_letters: bool) -> None:
    assert Normaliser(split_letters)(text) == BasicTextNormalizer(split_letters=split_letters)(text)


@given(LATIN)
def test_latin_script_is_normalised_as_in_the_paper(text: str) -> None:
    assert Normaliser()(text) == BasicTextNormalizer()(text)
