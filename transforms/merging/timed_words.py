"""Words with times, which the merge of neighbouring windows aligns.

The merge needs the time of each word, but the model times segments only, unless word timestamps were
requested. `timed_words` uses the word timestamps where they exist; otherwise it spreads the words of a
segment over its seconds of speech.
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
SPEECH_SLACK_S = 5.0  # words spread over the seconds of speech: the pace may still change
WINDOW_SLACK_S = 10.0  # words spread evenly over a whole window: each long pause in it shifts them by seconds


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of a segment's text, with seconds of the recording.

    Attributes:
        text: its text in the segment, including the space before it and the punctuation around it.
        key: equal for words that count as the same (see `word_key`).
        start_s: start of the word.
        end_s: end of the word; not before `start_s`.
        slack_s: maximum error of the times. All thresholds of the merge depend on it.
        source: index of the window, and number of the segment in it.
        offset: characters of the segment's text before it.
        mid_s: the middle of the word, by which words are compared in time.
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
    """Returns all words of a window with times.

    The joined texts of a segment's words are the segment's text. A segment without text, or with white space
    only, has no words.
    """
    words = []
    for number, segment in enumerate(window.segments):
        texts = split_words(segment.text, segment.language or window.language)
        timed = _from_words(segment, texts) if segment.words else _interpolate(segment, texts, window.speech)
        source, offset = (window.index, number), 0
        for text, start_s, end_s in timed:
            # A window's edge may cut a word in two: its middles are then up to half its length apart.
            slack_s = WORD_SLACK_S + (end_s - start_s) / 2 if segment.words else _slack_s(window)
            words.append(TimedWord(text, word_key(text), start_s, end_s, slack_s, source, offset))
            offset += len(text)
    return words


def _slack_s(window: WindowTranscript) -> float:
    """Returns the slack of words without word timestamps."""
    if window.timestamped:
        return SEGMENT_SLACK_S
    return WINDOW_SLACK_S if window.speech is None else SPEECH_SLACK_S


TextTimes = tuple[str, float, float]


def _interpolate(
    segment: Segment, texts: tuple[str, ...], speech: tuple[tuple[float, float], ...] | None
) -> Iterable[TextTimes]:
    """Yields (text, start_s, end_s) of words: the share of speech of each is its share of the text."""
    intervals = _within(speech or (), segment) or [(segment.start_s, segment.end_s)]
    lengths_s = [end_s - start_s for start_s, end_s in intervals]
    sizes = [len(text.strip()) for text in texts]
    total = sum(sizes)
    done = 0

    def time_of(share: float, is_start: bool) -> float:
        """Returns when that share of the speech is over; at a pause, the side that the word lies on."""
        left_s = share * sum(lengths_s)
        for (start_s, end_s), length_s in zip(intervals, lengths_s, strict=True):
            if left_s < length_s or (left_s == length_s and not is_start):
                return min(start_s + left_s, end_s)
            left_s -= length_s
        return intervals[-1][1]

    for text, size in zip(texts, sizes, strict=True):
        start_s = time_of(done / total, is_start=True)
        done += size
        yield text, start_s, max(start_s, time_of(done / total, is_start=False))


def _within(speech: Iterable[tuple[float, float]], segment: Segment) -> list[tuple[float, float]]:
    """Returns the parts of `speech` that lie in a segment."""
    clipped = ((max(start_s, segment.start_s), min(end_s, segment.end_s)) for start_s, end_s in speech)
    return [(start_s, end_s) for start_s, end_s in clipped if start_s < end_s]


def _from_words(segment: Segment, texts: tuple[str, ...]) -> Iterable[TextTimes]:
    """Yields (text, start_s, end_s) of words from the model's words, which may be split differently."""
    bounds = list(accumulate((len(word.text) for word in segment.words), initial=0))

    def time_of(offset: int, is_start: bool) -> float:
        """Returns the time at a character of the segment's text."""
        number = (bisect_right if is_start else bisect_left)(bounds, offset) - 1
        word = segment.words[min(max(number, 0), len(segment.words) - 1)]
        size = len(word.text.strip())
        inside = offset - bounds[number] - (len(word.text) - len(word.text.lstrip()))
        return word.start_s + (word.end_s - word.start_s) * min(max(inside / max(size, 1), 0.0), 1.0)

    offset = 0
    for text in texts:
        start_s = time_of(offset + len(text) - len(text.lstrip()), is_start=True)
        offset += len(text)
        yield text, start_s, max(start_s, time_of(offset, is_start=False))
