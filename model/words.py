"""Tokens to words. No JAX.

The rules are those of `whisper/tokenizer.py` (`split_to_word_tokens`) and `whisper/timing.py`
(`merge_punctuations`) of openai/whisper.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from model.interface import Word
from model.tokens import WhisperTokenizer

WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages that put no spaces between words: there each run of whole characters is one."""

_OPENING = "\"'“¿([{-"  # belong to the word after them
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - belong to the word before them


class WordTokens(NamedTuple):
    """A word as written, and how many tokens it took."""

    text: str
    n_tokens: int


def split_words(
    text: str, tokens: Sequence[int], tokenizer: WhisperTokenizer, language: str
) -> list[WordTokens]:
    """Cuts a text into words, each mark of punctuation on its own.

    A word brings the space before it. The words' texts joined are `text`, their tokens together all there
    are; without tokens there are no words.

    Args:
        text: what the tokens say.
        tokens: ids of text.
        tokenizer: the model's own.
        language: code of the language the text is in.
    """
    characters = _whole_characters(text, tokens, tokenizer)
    if language in WITHOUT_SPACES:
        return characters
    words: list[WordTokens] = []
    for piece in characters:
        if words and not piece.text.startswith(" ") and piece.text.strip() not in string.punctuation:
            words[-1] = WordTokens(words[-1].text + piece.text, words[-1].n_tokens + piece.n_tokens)
        else:
            words.append(piece)
    return words


def _whole_characters(text: str, tokens: Sequence[int], tokenizer: WhisperTokenizer) -> list[WordTokens]:
    """The fewest tokens each that say whole characters: a token is bytes, and may hold a part of one."""
    pieces: list[WordTokens] = []
    offset, first = 0, 0
    for end in range(1, len(tokens) + 1):
        piece = tokenizer.decode(tokens[first:end])
        # A part of a character reads as U+FFFD, which is not what the text has there.
        if piece and text.startswith(piece, offset):
            pieces.append(WordTokens(piece, end - first))
            offset, first = offset + len(piece), end
    if offset == len(text) and pieces:
        pieces[-1] = WordTokens(pieces[-1].text, pieces[-1].n_tokens + len(tokens) - first)
    elif first < len(tokens):
        pieces.append(WordTokens(text[offset:], len(tokens) - first))
    elif pieces:
        pieces[-1] = WordTokens(pieces[-1].text + text[offset:], pieces[-1].n_tokens)
    return pieces


def merge_punctuation(words: Sequence[Word]) -> list[Word]:
    """Joins each mark of punctuation to the word that it belongs to, whose times and probability stay."""
    opened: list[Word] = []
    for word in reversed(words):
        if opened and word.text.startswith(" ") and word.text.strip() in _OPENING:
            opened[-1] = replace(opened[-1], text=word.text + opened[-1].text)
        else:
            opened.append(word)
    merged: list[Word] = []
    for word in reversed(opened):
        if merged and not merged[-1].text.endswith(" ") and word.text in _CLOSING:
            merged[-1] = replace(merged[-1], text=merged[-1].text + word.text)
        else:
            merged.append(word)
    return merged
