"""Differences between the times of words in a transcript and in a reference.

Words are paired by an alignment of their normalised texts, and only given times are compared. Where a
transcript or a reference has times of segments only, these are the start of a segment's first word and the
end of its last. Times are never interpolated, as that would measure the interpolation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pipelines.evaluation.error_rates import align, normalised_words
from transforms.core.text import split_words

WITHIN_S = (0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class TimedText:
    """A word, or a segment of several words, with times in seconds of the recording."""

    start_s: float
    end_s: float
    text: str


@dataclass
class TimeErrors:
    """Absolute differences between paired times, counted by ms: memory does not grow with their number."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, difference_s: float) -> None:
        """Adds a difference of either sign."""
        self.counts[round(abs(difference_s) * 1000)] += 1

    @property
    def n_compared(self) -> int:
        """Number of differences added."""
        return self.counts.total()

    def quantile_s(self, share: float) -> float | None:
        """Returns the smallest difference, to the ms, that `share` of all do not exceed; None without any."""
        n_wanted = math.ceil(share * self.n_compared)
        n_below = 0
        for difference_ms in sorted(self.counts):
            n_below += self.counts[difference_ms]
            if n_below >= n_wanted:
                return difference_ms / 1000
        return None

    def share_within(self, seconds: float) -> float | None:
        """Returns the share of differences of at most `seconds`; None without any."""
        if not self.counts:
            return None
        within = sum(n for difference_ms, n in self.counts.items() if difference_ms <= seconds * 1000)
        return within / self.n_compared


@dataclass
class TimeQuality:
    """Differences of words' starts and of their ends."""

    starts: TimeErrors = field(default_factory=TimeErrors)
    ends: TimeErrors = field(default_factory=TimeErrors)

    def update(self, other: TimeQuality) -> None:
        """Adds the differences of another recording."""
        self.starts.counts.update(other.starts.counts)
        self.ends.counts.update(other.ends.counts)


def compare_times(
    reference: Iterable[TimedText], hypothesis: Iterable[TimedText], language: str | None
) -> TimeQuality:
    """Pairs the words of both sides and compares the times that both have.

    Args:
        reference: words or segments in order, with their true times.
        hypothesis: words or segments of a transcript, in order.
        language: code of the language of both; None if unknown.
    """
    quality = TimeQuality()
    for true, found in _pairs(_words(reference, language), _words(hypothesis, language)):
        if true.start_s is not None and found.start_s is not None:
            quality.starts.add(found.start_s - true.start_s)
        if true.end_s is not None and found.end_s is not None:
            quality.ends.add(found.end_s - true.end_s)
    return quality


@dataclass(frozen=True, slots=True)
class _Word:
    key: str
    start_s: float | None
    end_s: float | None


def _words(texts: Iterable[TimedText], language: str | None) -> list[_Word]:
    """Returns the words that are not empty once normalised, with those of their times that are known."""
    words = []
    for timed in texts:
        tokens = split_words(timed.text, language or "")
        for number, token in enumerate(tokens, start=1):
            start_s = timed.start_s if number == 1 else None
            end_s = timed.end_s if number == len(tokens) else None
            words.append(_Word(_key(token, language), start_s, end_s))
    return [word for word in words if word.key]


@lru_cache(maxsize=100_000)
def _key(word: str, language: str | None) -> str:
    """Returns the normalised form of a word; cached, as a few words make up most of any text."""
    return " ".join(normalised_words(word, language))


def _pairs(reference: Sequence[_Word], hypothesis: Sequence[_Word]) -> Iterable[tuple[_Word, _Word]]:
    """Yields the pairs of equal words in the alignment of both sides."""
    i = j = 0
    for edit in align([word.key for word in reference], [word.key for word in hypothesis]):
        if edit.kind == "equal":
            n_words = len(edit.reference)
            yield from zip(reference[i : i + n_words], hypothesis[j : j + n_words], strict=True)
        i += len(edit.reference)
        j += len(edit.hypothesis)
