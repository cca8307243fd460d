"""Languages in a window whose language was not given: is it sure, and which pieces are in which language?

The model detects one language for a window, mostly that of its beginning, and then translates the others or
skips them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from model.interface import WindowResult

MIN_SURE = 0.95
"""Posterior of the language of a window below which its pieces are decoded by themselves. It is lower for 6
of 134 windows in one language (some of these without a pause, which have no pieces), and for 36 of 40 windows
in two to four languages with pauses between them, on which it was chosen."""

MAX_OWN = 0.1
"""Posterior of the window's language in a piece, from which on the piece is in that language. Of 66 pieces of
recordings in one language, one is taken for another: Spanish for Portuguese, with 0.70 against 0.23."""

MIN_OTHER = 0.5
"""Posterior of another language, from which on a piece is in that language."""


class Run(NamedTuple):
    """Neighbouring pieces in one language: from `first` to `last`, both included."""

    language: str
    first: int
    last: int


def is_unsure(result: WindowResult) -> bool:
    """Whether the language of a window was detected, and is not sure."""
    return bool(result.language_probs) and result.language_probs.get(result.language, 0.0) < MIN_SURE


def language_of(result: WindowResult, own: str, among: Sequence[str] = ()) -> str:
    """Returns the language of a piece: the one detected, if it is likely, and that of the window is not.

    Args:
        result: decoding of the piece, with its language detected.
        own: language of the window.
        among: codes of the languages that are possible; empty for all.
    """
    return _likeliest(_probs(result, among), [own]) or own


def languages_of(
    results: Sequence[WindowResult | None], own: str, among: Sequence[str] = ()
) -> list[str | None]:
    """Returns the language of each piece of a window.

    It is the one detected where that is sure. Elsewhere a language of the window, or of a piece that is sure,
    is preferred: languages that are alike are mistaken for each other, and speakers rarely use both.

    Args:
        results: decodings of the pieces, with their languages detected; None for a piece without text.
        own: language of the window.
        among: codes of the languages that are possible; empty for all.
    """
    probs = [None if result is None else _probs(result, among) for result in results]
    sure = {
        language for one in probs if one for language, probability in one.items() if probability >= MIN_SURE
    }
    return [None if one is None else _likeliest(one, sorted({own} | sure)) or own for one in probs]


def _probs(result: WindowResult, among: Sequence[str]) -> dict[str, float]:
    """Returns the posteriors of the possible languages, which sum up to 1; empty if none was considered."""
    probs = {
        language: probability
        for language, probability in (result.language_probs or {result.language: 1.0}).items()
        if language in among or not among
    }
    total = sum(probs.values())
    return {language: probability / total for language, probability in probs.items()} if total else {}


def _likeliest(probs: Mapping[str, float], preferred: Sequence[str]) -> str | None:
    """Returns the likeliest of the preferred languages that are possible, else of all; None for none."""
    kept = [language for language in preferred if probs.get(language, 0.0) >= MAX_OWN]
    if kept:
        return max(kept, key=lambda language: probs[language])
    likely = [language for language in sorted(probs) if probs[language] >= MIN_OTHER]
    return max(likely, key=lambda language: probs[language], default=None)


def runs_of(languages: Sequence[str | None], own: str) -> list[Run]:
    """Joins neighbouring pieces of one language.

    Args:
        languages: that of each piece; None for one without text, which goes with the piece before it.
        own: language of the window.
    """
    known: list[str] = []
    for language in languages:
        known.append(language or (known[-1] if known else next(filter(None, languages), own)))
    runs, first = [], 0
    for language, group in groupby(known):
        n = len(list(group))
        runs.append(Run(language, first, first + n - 1))
        first += n
    return runs


def mixed_result(
    first: WindowResult,
    runs: Sequence[tuple[str, int]],
    parts: Sequence[tuple[Mapping[str, float], int]],
) -> WindowResult:
    """Returns the result of a window in several languages, without text.

    Its language is that of most samples, and its posteriors are the mean of the pieces'.

    Args:
        first: decoding of the whole window.
        runs: language and number of samples of each run.
        parts: posteriors and number of samples of each piece.
    """
    n_samples: dict[str, int] = defaultdict(int)
    for language, n in runs:
        n_samples[language] += n
    language = max(n_samples, key=lambda one: n_samples[one])
    return replace(first, segments=(), repeated=False, language=language, language_probs=_mean(parts))


def _mean(parts: Sequence[tuple[Mapping[str, float], int]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for probs, n_samples in parts:
        for language, probability in probs.items():
            sums[language] += n_samples * probability
    total = sum(sums[language] for language in sorted(sums)) or 1.0
    return {language: sums[language] / total for language in sorted(sums, key=lambda one: (-sums[one], one))}
