"""Words with times: what the merge of neighbouring windows aligns.

The merge needs words; the model times segments, unless word times were asked for. `timed_words` is where one
becomes the other: by the word times that there are, or else by spreading a segment's words over the seconds
of it in which somebody speaks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from transforms.core.text import split_words, word_key
from transforms.core.types import Segment, WindowTranscript

WORD_SLACK_S = 0.3  # word times from the cross-attention are rarely off by more
SEGMENT_SLACK_S = 1.0  # Whisper rounds a segment's times, and interpolation assumes an even pace
SPOKEN_SLACK_S = 5.0  # words spread over the seconds in which somebody speaks: the pace may still change
WINDOW_SLACK_S = 10.0  # words spread evenly over a whole window: each long pause in it moves them by seconds


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
