"""The language of a recording: a vote of its windows, not its first 30 seconds.

A window of silence or music has an opinion too, and it is often Welsh; so a window's say is the
probability that it heard speech at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from transforms.types import WindowTranscript

_LEAST_WEIGHT = 1e-3  # so that a recording in which no window is sure of speech still has a language


def vote(windows: Sequence[WindowTranscript]) -> str:
    """The language with the largest sum of posteriors, each weighted by `1 - no_speech_prob`.

    A window without posteriors votes for the language it was decoded in. The order of the windows does
    not matter; of languages with the same sum the first in the alphabet wins.

    Raises:
        ValueError: there are no windows.
    """
    if not windows:
        raise ValueError("no windows: nobody to vote on the language")
    sums: dict[str, float] = defaultdict(float)
    for window in sorted(windows, key=lambda window: window.index):  # sums of floats depend on order
        weight = max(1.0 - window.no_speech_prob, _LEAST_WEIGHT)
        for language, probability in (window.language_probs or {window.language: 1.0}).items():
            sums[language] += weight * probability
    return min(sums, key=lambda language: (-sums[language], language))


def outvoted(windows: Sequence[WindowTranscript], language: str) -> frozenset[int]:
    """Indices of the windows that were decoded in another language than the recording's."""
    return frozenset(window.index for window in windows if window.language != language)
