"""The language of a recording: a vote of all its windows, not of its first 30 seconds.

Language detection also answers for windows of silence or music, often with Welsh. So the weight of a window
is its seconds of speech, times the probability that it contains speech at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from transforms.core.types import WindowTranscript

_MIN_WEIGHT = 1e-3  # a recording whose windows probably contain no speech still has a language


def posteriors(windows: Sequence[WindowTranscript], among: Sequence[str] = ()) -> dict[str, float]:
    """Returns the probability of each language, the likeliest first: the mean of the windows' posteriors.

    With `among`, other languages are left out. If all windows are in other languages, the first one is sure.

    The weight of a window is its seconds of speech by VAD (its length without VAD), times
    `1 - no_speech_prob`. A window without posteriors votes for the language it was decoded in. The order of
    the windows does not matter; languages of the same probability are in alphabetical order.

    Raises:
        ValueError: there are no windows.
    """
    if not windows:
        raise ValueError("no windows to vote on the language")
    sums: dict[str, float] = defaultdict(float)
    for window in sorted(windows, key=lambda window: window.index):  # sums of floats depend on order
        weight = max((1.0 - window.no_speech_prob) * _speech_s(window), _MIN_WEIGHT)
        for language, probability in (window.language_probs or {window.language: 1.0}).items():
            if language in among or not among:
                sums[language] += weight * probability
    if not any(sums.values()):
        return {among[0]: 1.0}
    total = sum(sums[language] for language in sorted(sums))
    return {language: sums[language] / total for language in sorted(sums, key=lambda one: (-sums[one], one))}


def vote(windows: Sequence[WindowTranscript], among: Sequence[str] = ()) -> str:
    """Returns the likeliest language by `posteriors`.

    Raises:
        ValueError: there are no windows.
    """
    return next(iter(posteriors(windows, among)))


def _speech_s(window: WindowTranscript) -> float:
    """Returns the seconds of speech; all seconds without VAD."""
    if window.speech is None:
        return window.end_s - window.start_s
    return sum(end_s - start_s for start_s, end_s in window.speech)


def outvoted(windows: Sequence[WindowTranscript], language: str) -> frozenset[int]:
    """Returns the indices of the windows that were decoded in another language than the recording's."""
    return frozenset(window.index for window in windows if window.language != language)
