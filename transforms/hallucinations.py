"""What Whisper writes though nobody said it, taken out of a window's text.

Whisper was trained on subtitles, and where it hears no words it writes what subtitles say: thanks for
watching, the same line over and over. Each filter looks for evidence beside the text itself, for people do
say thank you.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transforms.types import Segment, WindowTranscript
from transforms.words import UNSPACED_LANGUAGES, split_words, word_key

LEAST_HEARD_S = 0.1  # of speech in a segment's time: less is a click at its edge
MAX_WORDS_A_SECOND = 10.0  # auctioneers reach 8
MAX_CHARACTERS_A_SECOND = 30.0  # of languages without spaces; fast Japanese reaches 15
LEAST_WORDS = 6  # a segment with fewer may be short because its time is a bit off
COPIES = 3  # so many of the same in a row, in a text that fails for repeating itself, are one
MAX_REPEATED_WORDS = 40  # the longest stretch that is looked for


@dataclass(frozen=True)
class Heard:
    """A window's transcript, and whether its text failed for repeating itself at every temperature."""

    window: WindowTranscript
    repeats: bool


def without_speech(heard: Heard) -> tuple[Segment, ...]:
    """Drops segments in whose time the voice-activity gate heard nobody speak."""
    speech = heard.window.speech
    if speech is None or not heard.window.timestamped:
        return heard.window.segments
    return tuple(
        segment
        for segment in heard.window.segments
        if sum(max(min(e, segment.end_s) - max(b, segment.start_s), 0.0) for b, e in speech)
        >= min(LEAST_HEARD_S, segment.end_s - segment.start_s)
    )


def impossible_rate(heard: Heard) -> tuple[Segment, ...]:
    """Drops segments of more words than anybody can say in their time."""
    if not heard.window.timestamped:
        return heard.window.segments
    unspaced = heard.window.language in UNSPACED_LANGUAGES
    most_a_second = MAX_CHARACTERS_A_SECOND if unspaced else MAX_WORDS_A_SECOND

    def is_possible(segment: Segment) -> bool:
        n_words = len(split_words(segment.text, heard.window.language))
        return n_words < LEAST_WORDS or n_words <= most_a_second * (segment.end_s - segment.start_s)

    return tuple(filter(is_possible, heard.window.segments))


def repeats(heard: Heard) -> tuple[Segment, ...]:
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


FILTERS: Mapping[str, Callable[[Heard], tuple[Segment, ...]]] = {
    "no_speech": without_speech,
    "rate": impossible_rate,
    "repeats": repeats,
}
"""By their names in `--hallucination_filters`."""


def filtered(heard: Heard, names: Sequence[str]) -> tuple[WindowTranscript, dict[str, int]]:
    """A window's transcript after the filters of these names, and how many segments each one changed."""
    taken: dict[str, int] = {}
    for name in names:
        segments = FILTERS[name](heard)
        taken[name] = len(set(heard.window.segments) - set(segments))
        heard = replace(heard, window=replace(heard.window, segments=segments))
    return heard.window, taken
