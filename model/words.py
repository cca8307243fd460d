"""Words from tokens, and punctuation merged into words. No JAX.

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
"""Languages without spaces between words: a word is the smallest run of tokens of whole characters.

As in `whisper/tokenizer.py`, to have its word times; the merge has a longer list of its own.
"""

_OPENING = "\"'“¿([{-"  # belong to the word after them
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - belong to the word before them


class WordTokens(NamedTuple):
    """The text of a word, and its number of tokens."""

    text: str
    n_tokens: int


def split_words(
    text: str, tokens: Sequence[int], tokenizer: WhisperTokenizer, language: str
) -> list[WordTokens]:
    """Splits a text into words; punctuation marks are words of their own.

    A word includes the space before it. The words' texts concatenate to `text`, and their token counts sum to
    the number of tokens; without tokens the result is empty.

    Args:
        text: text of the tokens.
        tokens: ids of the text.
        tokenizer: tokenizer of the model.
        language: code of the text's language.
    """
    characters = _whole_characters(text, tokens, tokenizer)
    if language in WITHOUT_SPACES:
        return characters
    words: list[WordTokens] = []
    for part in characters:
        if words and not part.text.startswith(" ") and part.text.strip() not in string.punctuation:
            words[-1] = WordTokens(words[-1].text + part.text, words[-1].n_tokens + part.n_tokens)
        else:
            words.append(part)
    return words


def _whole_characters(text: str, tokens: Sequence[int], tokenizer: WhisperTokenizer) -> list[WordTokens]:
    """Groups tokens into the shortest runs of whole characters: a token is bytes, and may split one."""
    parts: list[WordTokens] = []
    offset, first = 0, 0
    for end in range(1, len(tokens) + 1):
        decoded = tokenizer.decode(tokens[first:end])
        # A part of a character decodes to U+FFFD, which differs from the text at that offset.
        if decoded and text.startswith(decoded, offset):
            parts.append(WordTokens(decoded, end - first))
            offset, first = offset + len(decoded), end
    if offset == len(text) and parts:
        parts[-1] = WordTokens(parts[-1].text, parts[-1].n_tokens + len(tokens) - first)
    elif first < len(tokens):
        parts.append(WordTokens(text[offset:], len(tokens) - first))
    elif parts:
        parts[-1] = WordTokens(parts[-1].text + text[offset:], parts[-1].n_tokens)
    return parts


def merge_punctuation(words: Sequence[Word]) -> list[Word]:
    """Merges punctuation marks into the words next to them, whose times and probabilities are unchanged."""
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
