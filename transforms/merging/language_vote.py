"""The language of a recording: a vote of all its windows, not of its first 30 seconds.

Language detection also answers for windows of silence or music, often with Welsh. So the weight of a window
is its seconds of speech, times the probability that it contains speech at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from transforms.core.types import WindowTranscript

MIN_SURE = 0.95
"""Posterior of its language from which on a window is sure of it. Of 134 windows and 66 shorter pieces in
seven languages, 128 windows are sure, and none of a wrong language: the piece that is wrong has 0.70. Of 130
windows of commands, most of them others, one is wrong, with 0.75."""

MAX_NO_SPEECH = 0.6
"""No-speech probability above which no window is sure: openai/whisper's threshold for silence."""

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


def outvoted(windows: Iterable[WindowTranscript], language: str, among: Sequence[str] = ()) -> frozenset[int]:
    """Returns the indices of the windows in another language than the recording's that are unsure of theirs.

    A window that is sure keeps its language: a recording may have several. So does one whose stretches were
    found to be in several languages (`transforms.recognition.window_languages`).

    Args:
        windows: windows of the recording.
        language: code of its language.
        among: codes of the languages that it may have, empty for all; a window in none of them is outvoted.
    """
    return frozenset(
        window.index for window in windows if window.language != language and not _keeps_own(window, among)
    )


def _keeps_own(window: WindowTranscript, among: Sequence[str]) -> bool:
    languages = {segment.language for segment in window.segments}
    if not languages or not (languages | {window.language} <= set(among) or not among):
        return False
    is_sure = window.language_probs.get(window.language, 0.0) >= MIN_SURE
    return len(languages) > 1 or (is_sure and window.no_speech_prob <= MAX_NO_SPEECH)
