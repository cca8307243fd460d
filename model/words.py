"""Words from tokens, and punctuation merged into words. No JAX.

The rules are those of `whisper/tokenizer.py` (`split_to_word_tokens`) and `whisper/timing.py`
(`merge_punctuations`) of openai/whisper.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
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


def split_words(tokens: Sequence[int], tokenizer: WhisperTokenizer, language: str) -> list[WordTokens]:
    """Splits a text into words; punctuation marks are words of their own.

    A word includes the space before it. The words' texts concatenate to the text of the tokens, and their
    token counts sum to the number of tokens. A broken character is U+FFFD.

    Args:
        tokens: ids of the text.
        tokenizer: tokenizer of the model.
        language: code of the text's language.
    """
    characters = _whole_characters([tokenizer.bytes_of(token) for token in tokens])
    if language in WITHOUT_SPACES:
        return characters
    words: list[WordTokens] = []
    for part in characters:
        if words and not part.text.startswith(" ") and part.text.strip() not in string.punctuation:
            words[-1] = WordTokens(words[-1].text + part.text, words[-1].n_tokens + part.n_tokens)
        else:
            words.append(part)
    return words


def _whole_characters(pieces: Sequence[bytes]) -> list[WordTokens]:
    """Groups tokens into the shortest runs of whole characters: a token is bytes, and may split one."""
    characters = _characters(b"".join(pieces))
    parts: list[WordTokens] = []
    text, n_tokens = "", 0
    n_written = n_read = 0  # bytes of the tokens so far, and of the characters that they are
    for piece in pieces:
        n_written, n_tokens = n_written + len(piece), n_tokens + 1
        while n_read < n_written:
            character, n_bytes = next(characters)
            text, n_read = text + character, n_read + n_bytes
        if n_read == n_written and text:
            parts.append(WordTokens(text, n_tokens))
            text, n_tokens = "", 0
    if n_tokens and parts:  # tokens without a character
        parts[-1] = WordTokens(parts[-1].text, parts[-1].n_tokens + n_tokens)
    return parts or ([WordTokens("", n_tokens)] if n_tokens else [])


def _characters(data: bytes) -> Iterator[tuple[str, int]]:
    """Yields each character of UTF-8 with the number of its bytes, a broken one as U+FFFD."""
    while data:
        try:
            whole, broken = data.decode(), 0
        except UnicodeDecodeError as error:
            whole, broken = data[: error.start].decode(), error.end - error.start
        for character in whole:
            yield character, len(character.encode())
        if broken:
            yield "\N{REPLACEMENT CHARACTER}", broken
        data = data[len(whole.encode()) + broken :]


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
