"""Words with times: what the merge of neighbouring windows aligns.

The merge needs words; the model times segments, unless word times were asked for. `timed_words` is where one
becomes the other: by the word times that there are, or else by spreading a segment's words over the seconds
of it in which somebody speaks.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from transforms.core.types import Segment, WindowTranscript

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Codes of Whisper's languages that put no space between words: their "words" are characters here."""

WORD_SLACK_S = 0.3  # word times from the cross-attention are rarely off by more
SEGMENT_SLACK_S = 1.0  # Whisper rounds a segment's times, and interpolation assumes an even pace
SPOKEN_SLACK_S = 5.0  # words spread over the seconds in which somebody speaks: the pace may still change
WINDOW_SLACK_S = 10.0  # words spread evenly over a whole window: each long pause in it moves them by seconds

_SPACED_PIECE = re.compile(r"\s*\S+|\s+")
_OPENING = ("Ps", "Pi")  # Unicode categories of opening brackets and quotes: they belong to what follows
_LETTER_CLASSES = ("L", "M", "N")


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A piece of a segment's text, with seconds of the recording.

    Attributes:
        text: as it stands in the segment, the space before it and the punctuation around it included.
        key: what two windows must agree on for it to be the same word (see `word_key`).
        start_s: where it begins.
        end_s: where it ends; not before `start_s`.
        slack_s: by how much the times may be off. All gates of the merge are made of it.
        source: index of the window, and number of the segment in it.
        offset: characters of the segment's text before it.
        mid_s: the middle of the word, which is the time it is compared by.
    """

    text: str
    key: str
    start_s: float
    end_s: float
    slack_s: float
    source: tuple[int, int]
    offset: int = 0
    mid_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mid_s", (self.start_s + self.end_s) / 2)


def timed_words(window: WindowTranscript) -> list[TimedWord]:
    """Gives every word of a window a time.

    The texts of a segment's words, joined, are the segment's text. A segment of no or only white text has
    no words.
    """
    words = []
    for number, segment in enumerate(window.segments):
        pieces = split_words(segment.text, window.language)
        if segment.words:
            timed = _from_words(segment, pieces)
        else:
            timed = _interpolate(segment, pieces, window.speech)
        source, offset = (window.index, number), 0
        for text, start_s, end_s in timed:
            # A window's edge may cut a word in two: its middles are then up to half its length apart.
            slack_s = WORD_SLACK_S + (end_s - start_s) / 2 if segment.words else _slack_s(window)
            words.append(TimedWord(text, word_key(text), start_s, end_s, slack_s, source, offset))
            offset += len(text)
    return words


def _slack_s(window: WindowTranscript) -> float:
    """By how much words may be off that the model did not time."""
    if window.timestamped:
        return SEGMENT_SLACK_S
    return WINDOW_SLACK_S if window.speech is None else SPOKEN_SLACK_S


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


TimedPiece = tuple[str, float, float]


def _interpolate(
    segment: Segment, pieces: tuple[str, ...], speech: tuple[tuple[float, float], ...] | None
) -> Iterable[TimedPiece]:
    """Yields (piece, start_s, end_s): each takes as much of the segment's speech as of its text."""
    spoken = _within(speech or (), segment) or [(segment.start_s, segment.end_s)]
    lengths_s = [end_s - start_s for start_s, end_s in spoken]
    sizes = [len(piece.strip()) for piece in pieces]
    total = sum(sizes)
    done = 0

    def time_of(share: float, begins: bool) -> float:
        """When that share of the speech is over; at a pause, the side that a word lies on."""
        left_s = share * sum(lengths_s)
        for (start_s, end_s), length_s in zip(spoken, lengths_s, strict=True):
            if left_s < length_s or (left_s == length_s and not begins):
                return min(start_s + left_s, end_s)
            left_s -= length_s
        return spoken[-1][1]

    for piece, size in zip(pieces, sizes, strict=True):
        start_s = time_of(done / total, begins=True)
        done += size
        yield piece, start_s, max(start_s, time_of(done / total, begins=False))


def _within(speech: Iterable[tuple[float, float]], segment: Segment) -> list[tuple[float, float]]:
    """The parts of `speech` that lie in a segment."""
    clipped = ((max(start_s, segment.start_s), min(end_s, segment.end_s)) for start_s, end_s in speech)
    return [(start_s, end_s) for start_s, end_s in clipped if start_s < end_s]


def _from_words(segment: Segment, pieces: tuple[str, ...]) -> Iterable[TimedPiece]:
    """Yields (piece, start_s, end_s) from the model's words, which may be cut otherwise than the pieces."""
    bounds = list(accumulate((len(word.text) for word in segment.words), initial=0))

    def time_of(offset: int, begins: bool) -> float:
        """The time of that many characters of the segment's text."""
        number = (bisect_right if begins else bisect_left)(bounds, offset) - 1
        word = segment.words[min(max(number, 0), len(segment.words) - 1)]
        size = len(word.text.strip())
        inside = offset - bounds[number] - (len(word.text) - len(word.text.lstrip()))
        return word.start_s + (word.end_s - word.start_s) * min(max(inside / max(size, 1), 0.0), 1.0)

    offset = 0
    for piece in pieces:
        start_s = time_of(offset + len(piece) - len(piece.lstrip()), begins=True)
        offset += len(piece)
        yield piece, start_s, max(start_s, time_of(offset, begins=False))


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
