"""The language of a recording: a vote of its windows, not its first 30 seconds.

A window of silence or music has an opinion too, and it is often Welsh; so a window's say is how long
somebody speaks in it, times the probability that it heard speech at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from transforms.core.types import WindowTranscript

_LEAST_WEIGHT = 1e-3  # so that a recording in which no window is sure of speech still has a language


def posteriors(windows: Sequence[WindowTranscript]) -> dict[str, float]:
    """The probability of each language, the likeliest first: the mean of the windows' posteriors.

    A window's weight is the seconds in which somebody speaks in it, where a voice-activity gate told them,
    times `1 - no_speech_prob`. A window without posteriors votes for the language it was decoded in. The
    order of the windows does not matter; languages of the same probability are in the order of the alphabet.

    Raises:
        ValueError: there are no windows.
    """
    if not windows:
        raise ValueError("no windows: nobody to vote on the language")
    sums: dict[str, float] = defaultdict(float)
    for window in sorted(windows, key=lambda window: window.index):  # sums of floats depend on order
        weight = max((1.0 - window.no_speech_prob) * _speech_s(window), _LEAST_WEIGHT)
        for language, probability in (window.language_probs or {window.language: 1.0}).items():
            sums[language] += weight * probability
    total = sum(sums[language] for language in sorted(sums))
    return {language: sums[language] / total for language in sorted(sums, key=lambda one: (-sums[one], one))}


def vote(windows: Sequence[WindowTranscript]) -> str:
    """The likeliest language by `posteriors`.

    Raises:
        ValueError: there are no windows.
    """
    return next(iter(posteriors(windows)))


def _speech_s(window: WindowTranscript) -> float:
    """Seconds in which somebody speaks; all of them where nobody listened for that."""
    if window.speech is None:
        return window.end_s - window.start_s
    return sum(end_s - start_s for start_s, end_s in window.speech)


def outvoted(windows: Sequence[WindowTranscript], language: str) -> frozenset[int]:
    """Indices of the windows that were decoded in another language than the recording's."""
    return frozenset(window.index for window in windows if window.language != language)
