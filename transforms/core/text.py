"""Text into words, and the key by which two words are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Codes of Whisper's languages that put no space between words: their "words" are characters here."""


_SPACED_PIECE = re.compile(r"\s*\S+|\s+")


_OPENING = ("Ps", "Pi")  # Unicode categories of opening brackets and quotes: they belong to what follows


_LETTER_CLASSES = ("L", "M", "N")


def split_words(text: str, language: str) -> tuple[str, ...]:
    """Splits a text so that the pieces, joined, give it back exactly.

    Languages written without spaces are split at every character (a base with its combining marks), but a
    run of ASCII letters and digits stays whole; all others at spaces. A piece has at least one letter or
    digit: punctuation goes with the word before it, opening brackets and quotes with the word after. A
    text without any letter or digit (`...`) is one piece; an empty or white one has none.

    Args:
        text: of a segment, its leading space included.
        language: Whisper's code, such as `en`.
    """
    if not text.strip():
        return ()
    unspaced = language in UNSPACED_LANGUAGES
    return tuple(_attach_punctuation(_characters(text) if unspaced else _SPACED_PIECE.findall(text)))


def word_key(text: str) -> str:
    """What is left of a word for comparing: NFKC, casefolded, of letters, marks and digits alone.

    A text that has none of these is compared as it is, so that `...` equals `...`.
    """
    return _letters(text) or text.strip()


def _letters(text: str) -> str:
    stripped = text.strip()
    if stripped.isascii() and stripped.isalnum():
        return stripped.lower()
    folded = unicodedata.normalize("NFKC", stripped).casefold()
    return "".join(char for char in folded if unicodedata.category(char)[0] in _LETTER_CLASSES)


def _characters(text: str) -> list[str]:
    """Splits at every character but before combining marks and inside runs of ASCII letters and digits."""
    pieces: list[str] = []
    for char in text:
        marks = unicodedata.category(char).startswith("M")
        if pieces and (marks or (_is_ascii_word(pieces[-1][-1]) and _is_ascii_word(char))):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def _is_ascii_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _attach_punctuation(pieces: Iterable[str]) -> list[str]:
    """Joins pieces without letters to the one before; to the one after if they open, or come first."""
    words: list[str] = []
    opening = ""
    for piece in pieces:
        if _letters(piece):
            words.append(opening + piece)
            opening = ""
        elif not words or opening or piece.isspace() or unicodedata.category(piece[-1]) in _OPENING:
            opening += piece
        else:
            words[-1] += piece
    if words:
        words[-1] += opening
    else:
        words.append(opening)
    return words
