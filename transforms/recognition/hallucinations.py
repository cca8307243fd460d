"""What Whisper writes though nobody said it, taken out of a window's text.

Whisper was trained on subtitles, and where it hears no words it writes what subtitles say: thanks for
watching, the same line over and over. Each filter looks for evidence beside the text itself, for people do
say thank you.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transforms.core.text import UNSPACED_LANGUAGES, split_words, word_key
from transforms.core.types import Segment, WindowTranscript

MIN_SPEECH_S = 0.1  # of speech about a segment: less is a click at its edge
MARGIN_S = 0.5  # by which Whisper's times are often off, after a pause most of all
MAX_WORDS_A_SECOND = 10.0  # auctioneers reach 8
MAX_CHARACTERS_A_SECOND = 30.0  # of languages without spaces; fast Japanese reaches 15
MIN_WORDS = 6  # a segment with fewer may be short because its time is a bit off
COPIES = 3  # so many of the same in a row, in a text that fails for repeating itself, are one
MAX_REPEATED_WORDS = 40  # the longest stretch that is looked for


@dataclass(frozen=True)
class FilterInput:
    """A window's transcript, and whether its text failed for repeating itself at every temperature."""

    window: WindowTranscript
    repeats: bool


def drop_invalid_length(heard: FilterInput) -> tuple[Segment, ...]:
    """Drops segments that have no length, or more than their window, or no letter or digit.

    Text timed after the window's end, in the silence that pads it, ends up with no length there;
    `whisper/transcribe.py` drops such segments, too. Of clicks and keys, Whisper often writes full stops.
    """
    length_s = heard.window.end_s - heard.window.start_s
    return tuple(
        segment
        for segment in heard.window.segments
        if 0 < segment.end_s - segment.start_s <= length_s and any(map(str.isalnum, segment.text))
    )


def drop_without_speech(heard: FilterInput) -> tuple[Segment, ...]:
    """Drops segments in whose time the voice-activity gate heard nobody speak."""
    speech = heard.window.speech
    if speech is None or not heard.window.timestamped:
        return heard.window.segments
    return tuple(
        segment
        for segment in heard.window.segments
        if sum(_shared_s(part, (segment.start_s - MARGIN_S, segment.end_s + MARGIN_S)) for part in speech)
        >= MIN_SPEECH_S
    )


def _shared_s(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)


def drop_impossible_rate(heard: FilterInput) -> tuple[Segment, ...]:
    """Drops segments of more words than anybody can say in their time, as the model gave it.

    Where words are timed, a segment is as long as they are, and as wrong: it tells nothing then.
    """
    if not heard.window.timestamped:
        return heard.window.segments
    unspaced = heard.window.language in UNSPACED_LANGUAGES

    def is_possible(segment: Segment) -> bool:
        by_character = unspaced and not segment.text.isascii()  # a translation has spaces
        most_a_second = MAX_CHARACTERS_A_SECOND if by_character else MAX_WORDS_A_SECOND
        n_words = len(split_words(segment.text, heard.window.language if by_character else "en"))
        few = n_words < MIN_WORDS or n_words <= most_a_second * (segment.end_s - segment.start_s)
        return few or bool(segment.words)

    return tuple(filter(is_possible, heard.window.segments))


def repeats(heard: FilterInput) -> tuple[Segment, ...]:
    """Writes once what a text that repeats itself says `COPIES` times in a row or more, across segments too.

    Only where every temperature failed for it: what the model says over and over when it is sure may be a
    refrain.
    """
    if not heard.repeats:
        return heard.window.segments
    words = [
        (number, text)
        for number, segment in enumerate(heard.window.segments)
        for text in split_words(segment.text, heard.window.language)
    ]
    kept = _once([word_key(text) for _, text in words])
    texts = ["" for _ in heard.window.segments]
    for position in kept:
        number, text = words[position]
        texts[number] += text
    return tuple(
        segment if segment.text == text else replace(segment, text=text, words=())
        for segment, text in zip(heard.window.segments, texts, strict=True)
        if text.strip()
    )


def _once(keys: Sequence[str]) -> list[int]:
    """Positions of the words that stay when each stretch in `COPIES` or more copies is one."""
    kept: list[int] = []
    position = 0
    while position < len(keys):
        period, copies = _repetition(keys, position)
        kept += range(position, position + period)
        position += period * copies
    return kept


def _repetition(keys: Sequence[str], start: int) -> tuple[int, int]:
    """The stretch from `start` on that covers most with its copies: its length, and how many there are."""
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
    "repeats": repeats,
}
"""By their names in `--hallucination_filters`."""


def apply_filters(heard: FilterInput, names: Sequence[str]) -> tuple[WindowTranscript, dict[str, int]]:
    """A window's transcript after the filters of these names, and how many segments each one changed."""
    taken: dict[str, int] = {}
    for name in names:
        segments = FILTERS[name](heard)
        taken[name] = 0
        if segments != heard.window.segments:  # as most do not
            taken[name] = len(set(heard.window.segments) - set(segments))
            heard = replace(heard, window=replace(heard.window, segments=segments))
    return heard.window, taken
