"""Repetitions that ended a decoding, and whether the sound is as long as they are.

`model.repetition` stops a text that repeats itself. What it stopped ends with four copies or more of a
phrase, of two dozen tokens or more; the last copy may be incomplete, and is dropped if it is a segment.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from transforms.core.text import split_words, word_key

MIN_COPIES = 3  # the decoder stops at four, and the unfinished segment is dropped
MIN_REPEATED_CHARACTERS = 16  # in the copies after the first; three times "no" is no loop
MAX_PERIOD = 56  # words; the decoder finds phrases of as many tokens
DIGIT_LETTERS, WIDE_LETTERS = 4, 2  # letters that take as long to say as a digit, and as a syllabic character
MAX_LETTERS_A_SECOND = 20.0  # fast speech
MIN_LETTERS_A_SECOND = 6.0  # slow speech
PAUSE_S = 0.8  # of silence about what is said by itself, which VAD counts as speech


@dataclass(frozen=True)
class Loop:
    """The repetition at the end of a text.

    Attributes:
        start: characters before it.
        first_stop: characters up to the end of its first copy.
        n_copies: copies, with the part of one at the end.
        phrase: the first copy.
        copies: the text after the first copy.
    """

    start: int
    first_stop: int
    n_copies: float
    phrase: str
    copies: str


def find_loop(text: str, language: str) -> Loop | None:
    """Returns the repetition at the end of a text at which decoding was stopped; None if there is none.

    Case and punctuation do not matter, and the last word may be incomplete.
    """
    words = split_words(text, language)
    keys = [word_key(word) for word in words]
    best: tuple[int, int] | None = None  # words before the loop, and in a copy
    for period in range(1, min(MAX_PERIOD, len(keys) // MIN_COPIES) + 1):
        start = _start(keys, period)
        if len(keys) - start >= MIN_COPIES * period and (best is None or start < best[0]):
            best = start, period
    if best is None:
        return None
    start, period = best
    before, phrase, copies = (
        "".join(words[begin:end])
        for begin, end in ((0, start), (start, start + period), (start + period, None))
    )
    if len(copies.strip()) < MIN_REPEATED_CHARACTERS:
        return None
    return Loop(len(before), len(before) + len(phrase), (len(keys) - start) / period, phrase, copies)


def _start(keys: list[str], period: int) -> int:
    """Returns the number of words before the longest repetition of that period that ends the text."""
    at = len(keys) - 1
    if keys[at - period].startswith(keys[at]):  # it may be incomplete
        at -= 1
        while at >= period and keys[at] == keys[at - period]:
            at -= 1
    return at + 1 - period


def is_spoken(loop: Loop, speech_s: float) -> bool:
    """Whether the copies of a loop take as long to say as there is speech in their time.

    Many copies in a moment were not spoken, and a few copies in a long time are not all that was spoken.
    """
    letters = sum(map(_letters, loop.phrase))
    copy_s = speech_s / loop.n_copies
    return letters / MAX_LETTERS_A_SECOND <= copy_s <= letters / MIN_LETTERS_A_SECOND + PAUSE_S


def _letters(char: str) -> int:
    """Returns how many letters take as long to say."""
    if not char.isalnum():
        return 0
    if char.isdecimal():
        return DIGIT_LETTERS
    return WIDE_LETTERS if unicodedata.east_asian_width(char) == "W" else 1
