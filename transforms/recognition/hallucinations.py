"""Filters for hallucinations: text that Whisper writes although it was not spoken.

Whisper was trained on subtitles, and for audio without words it writes typical text of subtitles: thanks for
watching, or the same line repeated. Each filter needs evidence other than the text itself, because such
sentences are also spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from transforms.core.text import UNSPACED_LANGUAGES, has_letters, split_words
from transforms.core.types import Segment, Untranscribed, WindowTranscript
from transforms.recognition.loops import Loop, find_loop, is_spoken

MIN_SPEECH_S = 0.1  # of speech in a segment with its margins; less is a click at its edge
MIN_LOST_S = 1.0  # of speech in a deleted segment without a letter, for which it is listed
MARGIN_S = 0.5  # common error of Whisper's times, mostly after a pause
MAX_WORDS_A_SECOND = 10.0  # auctioneers reach 8
MAX_CHARACTERS_A_SECOND = 30.0  # in languages without spaces; fast Japanese reaches 15
MIN_WORDS = 6  # a segment with fewer may be short because of inexact times


@dataclass(frozen=True)
class FilterInput:
    """A window's transcript, and the parts of it at whose end decoding was stopped for repetition.

    Attributes:
        repeated: the segments of each pass that every temperature stopped for repetition.
    """

    window: WindowTranscript
    repeated: tuple[tuple[Segment, ...], ...] = ()


class Filtered(NamedTuple):
    """The segments that a filter keeps, and what it deleted."""

    segments: tuple[Segment, ...]
    deleted: tuple[Untranscribed, ...] = ()


def drop_invalid_length(given: FilterInput) -> Filtered:
    """Drops segments of no length, longer than their window, or without a letter or digit.

    Text timed after the window's end, in the silence that pads it, ends up with no length;
    `whisper/transcribe.py` drops such segments, too. For clicks and keys, Whisper often writes full stops.
    """
    length_s = given.window.end_s - given.window.start_s
    return _kept_if(
        lambda segment: 0 < segment.end_s - segment.start_s <= length_s and has_letters(segment.text),
        given.window,
        LENGTH,
    )


def drop_without_speech(given: FilterInput) -> Filtered:
    """Drops segments in whose time VAD found no speech."""
    speech = given.window.speech
    if speech is None or not given.window.timestamped:
        return Filtered(given.window.segments)
    return _kept_if(
        lambda segment: (
            _speech_s(speech, segment.start_s - MARGIN_S, segment.end_s + MARGIN_S) >= MIN_SPEECH_S
        ),
        given.window,
        NO_SPEECH,
    )


def _speech_s(speech: Sequence[tuple[float, float]], start_s: float, end_s: float) -> float:
    return sum(max(min(part[1], end_s) - max(part[0], start_s), 0.0) for part in speech)


def drop_impossible_rate(given: FilterInput) -> Filtered:
    """Drops segments with more words than can be spoken in their time."""
    if not given.window.timestamped:
        return Filtered(given.window.segments)

    def is_possible(segment: Segment) -> bool:
        is_unspaced = segment.language in UNSPACED_LANGUAGES
        by_character = is_unspaced and not segment.text.isascii()  # a translation has spaces
        max_per_second = MAX_CHARACTERS_A_SECOND if by_character else MAX_WORDS_A_SECOND
        n_words = len(split_words(segment.text, segment.language if by_character else "en"))
        return n_words < MIN_WORDS or n_words <= max_per_second * (segment.end_s - segment.start_s)

    return _kept_if(is_possible, given.window, RATE)


def _kept_if(is_kept: Callable[[Segment], bool], window: WindowTranscript, reason: str) -> Filtered:
    """Full stops alone are no text that was lost, except in speech."""
    kept, deleted = list[Segment](), list[Untranscribed]()
    speech = window.speech or ()
    for segment in window.segments:
        if is_kept(segment):
            kept.append(segment)
        elif has_letters(segment.text) or _speech_s(speech, segment.start_s, segment.end_s) >= MIN_LOST_S:
            deleted.append(Untranscribed(segment.start_s, segment.end_s, reason, segment.text))
    return Filtered(tuple(kept), tuple(deleted))


def shorten_loops(given: FilterInput) -> Filtered:
    """Keeps the first copy of a loop: the repetition for which decoding was stopped, at the end of its text.

    Other repetitions are kept: numbers are read digit by digit, and there are refrains. A loop is kept as
    well if its words fill the speech that VAD found in its time (`transforms.recognition.loops.is_spoken`).
    """
    window = given.window
    segments: dict[int, Segment | None] = dict(enumerate(window.segments))
    deleted = list[Untranscribed]()
    for repeated in given.repeated:
        places = {_place(segment) for segment in repeated}
        numbers = [number for number, segment in enumerate(window.segments) if _place(segment) in places]
        members = [window.segments[number] for number in numbers]
        text = "".join(segment.text for segment in members)
        loop = find_loop(text, members[0].language) if members else None
        if loop is None or _is_spoken(loop, members, window):
            continue
        start_s = _time_s(members, loop.first_stop)
        deleted.append(Untranscribed(start_s, members[-1].end_s, REPEATS, loop.copies))
        segments.update(zip(numbers, _shortened(members, loop.first_stop, start_s), strict=True))
    return Filtered(tuple(filter(None, segments.values())), tuple(deleted))


def _place(segment: Segment) -> tuple[float, float, str]:
    return segment.start_s, segment.end_s, segment.text


def _is_spoken(loop: Loop, segments: Sequence[Segment], window: WindowTranscript) -> bool:
    if window.speech is None:
        return False
    start_s = _time_s(segments, loop.start)
    return is_spoken(loop, _speech_s(window.speech, start_s, segments[-1].end_s))


def _time_s(segments: Sequence[Segment], offset: int) -> float:
    """Returns the time of a character of the segments' text, as if all of a segment took the same time."""
    for segment in segments:
        if offset < len(segment.text):
            return segment.start_s + (segment.end_s - segment.start_s) * offset / len(segment.text)
        offset -= len(segment.text)
    return segments[-1].end_s


def _shortened(segments: Sequence[Segment], stop: int, stop_s: float) -> Iterator[Segment | None]:
    """Yields each segment up to a character of their text, and None if nothing is left of it."""
    for segment in segments:
        text = segment.text[:stop]
        if text == segment.text:
            yield segment
        elif text.strip():
            ends = accumulate(len(word.text) for word in segment.words)
            words = tuple(word for word, end in zip(segment.words, ends, strict=True) if end <= stop)
            end_s = words[-1].end_s if words else stop_s
            yield replace(segment, text=text, end_s=end_s, words=words)
        else:
            yield None
        stop = max(stop - len(segment.text), 0)


LENGTH, NO_SPEECH, RATE, REPEATS = "length", "no_speech", "rate", "repeats"


FILTERS: Mapping[str, Callable[[FilterInput], Filtered]] = {
    LENGTH: drop_invalid_length,
    NO_SPEECH: drop_without_speech,
    RATE: drop_impossible_rate,
    REPEATS: shorten_loops,
}
"""Filters by their names in `--hallucination_filters`."""


def apply_filters(given: FilterInput, names: Sequence[str]) -> tuple[WindowTranscript, dict[str, int]]:
    """Returns a window's transcript after the named filters, and the number of segments that each changed.

    What they deleted is in its `untranscribed`.
    """
    n_changed: dict[str, int] = {}
    for name in names:
        window = given.window
        segments, deleted = FILTERS[name](given)
        n_changed[name] = 0
        if segments != window.segments:  # most do not
            n_changed[name] = len(set(window.segments) - set(segments))
            lost = sorted((*window.untranscribed, *deleted), key=lambda one: (one.start_s, one.end_s))
            given = replace(given, window=replace(window, segments=segments, untranscribed=tuple(lost)))
    return given.window, n_changed
