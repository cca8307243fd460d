"""Normaliser for all languages but English: that of the Whisper paper, except for marks.

The normalisers of the paper, openai/whisper and transformers replace every mark (Unicode category M) by a
space. So vowel signs are lost, and a word of Hindi becomes several. Here a mark is part of its word where its
script writes vowels or tones with marks (Devanagari, Thai, Khmer, ...). Points that writers may leave out
(Hebrew, Arabic, Syriac, the stress of Cyrillic) are removed, so that a pointed text equals the same text
without points. Latin script is treated as in the paper, so that its error rates are the same.
"""

from __future__ import annotations

import re
import unicodedata

from whisper_normalizer.basic import BasicTextNormalizer

_MARKS = ("Mn", "Mc", "Me")
_OPTIONAL_MARKS = re.compile(r"HEBREW|ARABIC|SYRIAC|SAMARITAN|COMBINING|VARIATION SELECTOR|MONGOLIAN FREE")
"""Beginnings of the names of marks that may be left out, or are only another form of a letter."""


class Normaliser(BasicTextNormalizer):  # type: ignore[misc]  # it has no types
    """Removes case, punctuation and texts in brackets.

    >>> Normaliser()("नमस्ते, दुनिया!").split()
    ['नमस्ते', 'दुनिया']

    Args:
        split_letters: separates all characters by spaces, for languages without spaces between words.
    """

    def __init__(self, split_letters: bool = False) -> None:
        super().__init__(split_letters=split_letters)
        self.clean = remove_symbols


def remove_symbols(text: str) -> str:
    """Replaces symbols and punctuation, and marks that belong to no letter, by spaces; see the module."""
    kept: list[str] = []
    base = ""
    for char in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(char)
        if category not in _MARKS:
            base = char
            kept.append(" " if category[0] in "SP" else char)
        elif not _is_letter(base) or _is_latin(base):
            kept.append(" ")
        elif not _OPTIONAL_MARKS.match(unicodedata.name(char, "")):
            kept.append(char)
    return "".join(kept)


def _is_letter(char: str) -> bool:
    return unicodedata.category(char or " ")[0] == "L"


def _is_latin(char: str) -> bool:
    return char.isascii() or unicodedata.name(char, "").startswith(("LATIN", "MODIFIER LETTER"))
