"""Splits text into words, and normalizes words for comparison."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Codes of Whisper's languages written without spaces: their "words" are single characters here."""
_SPACED_TOKEN = re.compile(r"\s*\S+|\s+")
_OPENING = ("Ps", "Pi")  # Unicode categories of opening brackets and quotes, which belong to the next word
_LETTER_CLASSES = ("L", "M", "N")


def split_words(text: str, language: str) -> tuple[str, ...]:
    """Splits a text into words that, joined, are exactly the text.

    Languages written without spaces are split at every character (a base with its combining marks), except
    within runs of ASCII letters and digits; other languages are split at spaces. A word has at least one
    letter or digit: punctuation is attached to the word before it, opening brackets and quotes to the word
    after. A text without letters or digits (`...`) is one word; an empty or blank text has none.

    Args:
        text: text of a segment, with its leading space.
        language: Whisper's code, such as `en`.
    """
    if not text.strip():
        return ()
    unspaced = language in UNSPACED_LANGUAGES
    return tuple(_attach_punctuation(_characters(text) if unspaced else _SPACED_TOKEN.findall(text)))


def has_letters(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return any(map(str.isalnum, text))


def word_key(text: str) -> str:
    """Returns the key by which words are compared: NFKC, casefolded, only letters, marks and digits.

    A text without any of these is its own key, so that `...` equals `...`.
    """
    return _letters(text) or text.strip()


def _letters(text: str) -> str:
    stripped = text.strip()
    if stripped.isascii() and stripped.isalnum():
        return stripped.lower()
    folded = unicodedata.normalize("NFKC", stripped).casefold()
    return "".join(char for char in folded if unicodedata.category(char)[0] in _LETTER_CLASSES)


def _characters(text: str) -> list[str]:
    """Splits at every character, except before combining marks and within ASCII letters and digits."""
    tokens: list[str] = []
    for char in text:
        marks = unicodedata.category(char).startswith("M")
        if tokens and (marks or (_is_ascii_word(tokens[-1][-1]) and _is_ascii_word(char))):
            tokens[-1] += char
        else:
            tokens.append(char)
    return tokens


def _is_ascii_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _attach_punctuation(tokens: Iterable[str]) -> list[str]:
    """Joins tokens without letters to the token before; to the one after if they open, or come first."""
    words: list[str] = []
    opening = ""
    for token in tokens:
        if _letters(token):
            words.append(opening + token)
            opening = ""
        elif not words or opening or token.isspace() or unicodedata.category(token[-1]) in _OPENING:
            opening += token
        else:
            words[-1] += token
    if words:
        words[-1] += opening
    else:
        words.append(opening)
    return words
