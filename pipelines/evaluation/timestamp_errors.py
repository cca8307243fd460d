"""How far the times of words are from those of a reference.

Words are paired by an alignment of their normalised texts; only times that somebody stated are compared.
Where a transcript or a reference has times for segments alone, those are the start of a segment's first word
and the end of its last: nothing is interpolated, for that would measure the interpolation.
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
    """A word, or a segment of several, with seconds of the recording."""

    start_s: float
    end_s: float
    text: str


@dataclass
class TimeErrors:
    """Absolute differences between paired times, in ms: memory grows with their size, not their number."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, difference_s: float) -> None:
        """Counts one difference, of either sign."""
        self.counts[round(abs(difference_s) * 1000)] += 1

    @property
    def n_compared(self) -> int:
        """How many differences were added."""
        return self.counts.total()

    def quantile_s(self, share: float) -> float | None:
        """The smallest difference, to the ms, that `share` of all do not exceed; None without any."""
        wanted = math.ceil(share * self.n_compared)
        seen = 0
        for difference_ms in sorted(self.counts):
            seen += self.counts[difference_ms]
            if seen >= wanted:
                return difference_ms / 1000
        return None

    def share_within(self, seconds: float) -> float | None:
        """The share of differences of at most so many seconds; None without any."""
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
        """Adds those of another recording."""
        self.starts.counts.update(other.starts.counts)
        self.ends.counts.update(other.ends.counts)


def compare_times(
    reference: Iterable[TimedText], hypothesis: Iterable[TimedText], language: str | None
) -> TimeQuality:
    """Pairs the words of both sides and compares the times that both have.

    Args:
        reference: words or segments in order, with their true times.
        hypothesis: words or segments of a transcript, in order.
        language: the code of both; None where it is not known.
    """
    said, written = _words(reference, language), _words(hypothesis, language)
    quality = TimeQuality()
    for true, found in _pairs(said, written):
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
    """Words that say something, with the times that are known of them."""
    words = []
    for timed in texts:
        pieces = split_words(timed.text, language or "")
        for number, piece in enumerate(pieces, start=1):
            start_s = timed.start_s if number == 1 else None
            end_s = timed.end_s if number == len(pieces) else None
            words.append(_Word(_key(piece, language), start_s, end_s))
    return [word for word in words if word.key]


@lru_cache(maxsize=100_000)
def _key(piece: str, language: str | None) -> str:
    """What two words must agree on to be the same; cached, for few words make up most of all texts."""
    return " ".join(normalised_words(piece, language))


def _pairs(said: Sequence[_Word], written: Sequence[_Word]) -> Iterable[tuple[_Word, _Word]]:
    at_said = at_written = 0
    for edit in align([word.key for word in said], [word.key for word in written]):
        if edit.kind == "equal":
            n_words = len(edit.reference)
            yield from zip(
                said[at_said : at_said + n_words], written[at_written : at_written + n_words], strict=True
            )
        at_said += len(edit.reference)
        at_written += len(edit.hypothesis)
