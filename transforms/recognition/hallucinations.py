"""Filters for hallucinations: text that Whisper writes although it was not spoken.

Whisper was trained on subtitles, and for audio without words it writes typical text of subtitles: thanks for
watching, or the same line repeated. Each filter needs evidence other than the text itself, because such
sentences are also spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transforms.core.text import UNSPACED_LANGUAGES, split_words, word_key
from transforms.core.types import Segment, WindowTranscript

MIN_SPEECH_S = 0.1  # of speech in a segment with its margins; less is a click at its edge
MARGIN_S = 0.5  # common error of Whisper's times, mostly after a pause
MAX_WORDS_A_SECOND = 10.0  # auctioneers reach 8
MAX_CHARACTERS_A_SECOND = 30.0  # in languages without spaces; fast Japanese reaches 15
MIN_WORDS = 6  # a segment with fewer may be short because of inexact times
COPIES = 3  # consecutive copies that are reduced to one, in a text that failed for repetition
MAX_REPEATED_WORDS = 40  # words in the longest repeated stretch that is searched for


@dataclass(frozen=True)
class FilterInput:
    """A window's transcript, and whether its text failed for repetition at every temperature."""

    window: WindowTranscript
    repeats: bool


def drop_invalid_length(given: FilterInput) -> tuple[Segment, ...]:
    """Drops segments of no length, longer than their window, or without a letter or digit.

    Text timed after the window's end, in the silence that pads it, ends up with no length;
    `whisper/transcribe.py` drops such segments, too. For clicks and keys, Whisper often writes full stops.
    """
    length_s = given.window.end_s - given.window.start_s
    return tuple(
        segment
        for segment in given.window.segments
        if 0 < segment.end_s - segment.start_s <= length_s and any(map(str.isalnum, segment.text))
    )


def drop_without_speech(given: FilterInput) -> tuple[Segment, ...]:
    """Drops segments in whose time VAD found no speech."""
    speech = given.window.speech
    if speech is None or not given.window.timestamped:
        return given.window.segments
    return tuple(
        segment
        for segment in given.window.segments
        if sum(_shared_s(part, (segment.start_s - MARGIN_S, segment.end_s + MARGIN_S)) for part in speech)
        >= MIN_SPEECH_S
    )


def _shared_s(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)


def drop_impossible_rate(given: FilterInput) -> tuple[Segment, ...]:
    """Drops segments with more words than can be spoken in their time."""
    if not given.window.timestamped:
        return given.window.segments
    unspaced = given.window.language in UNSPACED_LANGUAGES

    def is_possible(segment: Segment) -> bool:
        by_character = unspaced and not segment.text.isascii()  # a translation has spaces
        max_per_second = MAX_CHARACTERS_A_SECOND if by_character else MAX_WORDS_A_SECOND
        n_words = len(split_words(segment.text, given.window.language if by_character else "en"))
        return n_words < MIN_WORDS or n_words <= max_per_second * (segment.end_s - segment.start_s)

    return tuple(filter(is_possible, given.window.segments))


def collapse_repeats(given: FilterInput) -> tuple[Segment, ...]:
    """Keeps one of `COPIES` or more consecutive copies of a stretch of words, across segments too.

    Only if every temperature failed for repetition: a repetition that the model is sure of may be a refrain.
    """
    if not given.repeats:
        return given.window.segments
    words = [
        (number, text)
        for number, segment in enumerate(given.window.segments)
        for text in split_words(segment.text, given.window.language)
    ]
    kept = _without_copies([word_key(text) for _, text in words])
    texts = ["" for _ in given.window.segments]
    for position in kept:
        number, text = words[position]
        texts[number] += text
    return tuple(
        segment if segment.text == text else replace(segment, text=text, words=())
        for segment, text in zip(given.window.segments, texts, strict=True)
        if text.strip()
    )


def _without_copies(keys: Sequence[str]) -> list[int]:
    """Returns the positions of the words that are kept when `COPIES` or more copies are reduced to one."""
    kept: list[int] = []
    position = 0
    while position < len(keys):
        period, copies = _repetition(keys, position)
        kept += range(position, position + period)
        position += period * copies
    return kept


def _repetition(keys: Sequence[str], start: int) -> tuple[int, int]:
    """Returns length and copies of the stretch from `start` that covers most words with its copies."""
    best = 1, 1
    for period in range(1, min(MAX_REPEATED_WORDS, (len(keys) - start) // COPIES) + 1):
        copies = 1
        while keys[start : start + period] == keys[start + copies * period : start + (copies + 1) * period]:
            copies += 1
        if copies >= COPIES and period * copies > best[0] * best[1]:
            best = period, copies
    return best


FILTERS: Mapping[str, Callable[[FilterInput], tuple[Segment, ...]]] = {
    "length": drop_invalid_length,
    "no_speech": drop_without_speech,
    "rate": drop_impossible_rate,
    "repeats": collapse_repeats,
}
"""Filters by their names in `--hallucination_filters`."""


def apply_filters(given: FilterInput, names: Sequence[str]) -> tuple[WindowTranscript, dict[str, int]]:
    """Returns a window's transcript after the named filters, and the number of segments that each changed."""
    n_changed: dict[str, int] = {}
    for name in names:
        segments = FILTERS[name](given)
        n_changed[name] = 0
        if segments != given.window.segments:  # most do not
            n_changed[name] = len(set(given.window.segments) - set(segments))
            given = replace(given, window=replace(given.window, segments=segments))
    return given.window, n_changed
