"""Times of segments and words, held to the speech that they were spoken in.

The times of a model are not exact at pauses. It starts a segment where the one before it ended, although
silence was cut out of the window there; it starts the first one with the window, although music that
resembles speech comes before the speech; and words beside a pause take it in. So, of the stretches of speech
in the time of a segment, those with a small part of its speech are not its own, and a word is in one stretch
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

from model.interface import SAMPLE_RATE
from transforms.core.text import split_words
from transforms.core.types import Segment, Word
from transforms.windows.speech_intervals import MIN_SPEECH_SAMPLES, PADDING_SAMPLES

MIN_SHARE = 0.2
"""Fraction of a segment's speech that must be in a stretch at its start or end. Of 250 segments that Whisper
base timed across a pause, none of whose words were in the smaller part, that part had up to 0.15."""

MAX_SHARE_ERROR = 0.1
"""Difference between the fractions of text and of speech before a pause, to split a segment there without
words."""

MIN_SPLIT_S = 2.0
"""Seconds between two stretches of speech, or two words in them: a segment does not span so long a pause."""

MIN_SENTENCE_SPLIT_S = 0.5
"""The same where a sentence ends, between two words or two stretches of speech."""

MAX_STRAY_PROBABILITY = 0.5
"""Probability of words that are moved over a long pause to the rest of their sentence. A sound that the model
has no word for (music, a digit that it does not write) takes the first word of what follows: such words had
0.18 to 0.43, and words that were spoken there 0.54 to 0.99."""

MAX_CHARACTERS_A_SECOND = 30.0
"""More cannot be spoken, so that a text needs all of its speech."""

_PADDING_S = PADDING_SAMPLES / SAMPLE_RATE
_MIN_WORD_S = 0.1  # of speech under the words on one side of a pause; a shorter word is a time that is early
_MIN_SPEECH_S = MIN_SPEECH_SAMPLES / SAMPLE_RATE
_NO_COMMA = 0.15  # error of a fraction that a comma at the place of a split is worth
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…")  # noqa: RUF001

Speech = Sequence[tuple[float, float]]
"""Stretches of speech with their padding, (start, end) in seconds of the recording, that do not touch."""


_Side = tuple[int | None, Sequence[Word]]
"""Words of a segment in one stretch of speech, with its number; None without speech."""


class _Part(NamedTuple):
    """The part of a stretch of speech that is in a time range.

    Attributes:
        spoken_s: seconds of it without the padding of the stretch.
        is_most: whether most of the stretch is in the range.
    """

    start_s: float
    end_s: float
    spoken_s: float
    is_most: bool


def joined_speech(speech: Speech) -> Speech:
    """Returns the stretches, where those that touch are one."""
    stretches: list[tuple[float, float]] = []
    for start_s, end_s in speech:
        if stretches and start_s <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(end_s, stretches[-1][1])
        else:
            stretches.append((start_s, end_s))
    return stretches


def held_to_speech(segment: Segment, speech: Speech) -> tuple[Segment, ...]:
    """Returns a segment with its times held to its speech; unchanged where there is no speech.

    Where the times of its words are not known, it is split at pauses: where its sentences and its speech are
    divided alike, and at long ones in any case, between the words that divide it most like its speech.
    """
    parts: Sequence[_Part] = _parts(segment, speech)
    if not parts:
        return (segment,)
    splits = () if segment.words else (_at_sentence, _at_word)
    for split in splits:
        divided = split(segment, parts)
        if divided is not None:
            first, second = divided
            return (*held_to_speech(first, speech), *held_to_speech(second, speech))
        parts = _without_small_ends(segment.text, parts)
    parts = _without_small_ends(segment.text, parts)
    if any(after.start_s - before.end_s >= MIN_SPLIT_S for before, after in pairwise(parts)):
        parts = [max(parts, key=lambda part: part.spoken_s)]  # a single word, or words without times
    return (replace(segment, start_s=parts[0].start_s, end_s=parts[-1].end_s),)


def _without_small_ends(text: str, parts: Sequence[_Part]) -> Sequence[_Part]:
    """Drops parts at both ends with little of the speech, unless the text needs them.

    Beside a short pause, a part is kept if it is most of its stretch: a sentence has such pauses.
    """
    all_s = sum(part.spoken_s for part in parts)
    while len(parts) > 1:
        at_start = parts[0].spoken_s <= parts[-1].spoken_s
        end, rest = (parts[0], parts[1:]) if at_start else (parts[-1], parts[:-1])
        pause_s = parts[1].start_s - parts[0].end_s if at_start else parts[-1].start_s - parts[-2].end_s
        is_small = sum(part.spoken_s for part in rest) >= (1 - MIN_SHARE) * all_s
        is_other = pause_s >= MIN_SPLIT_S or not end.is_most
        length_s = sum(part.end_s - part.start_s for part in rest)
        if not (is_small and is_other and len(text.strip()) <= MAX_CHARACTERS_A_SECOND * length_s):
            break
        parts = rest
    return parts


def _at_sentence(segment: Segment, parts: Sequence[_Part]) -> tuple[Segment, Segment] | None:
    """Splits a segment at the first pause that divides its text and its speech alike, if any."""
    text, all_s = segment.text, sum(part.spoken_s for part in parts)
    ends = [place + 1 for place, (one, next_one) in enumerate(pairwise(text)) if _ends(one, next_one)]
    for n, (before, after) in enumerate(pairwise(parts), start=1):
        if not ends or after.start_s - before.end_s < MIN_SENTENCE_SPLIT_S:
            continue
        spoken_s = sum(part.spoken_s for part in parts[:n])
        is_spoken = min(spoken_s, all_s - spoken_s) >= _MIN_SPEECH_S and before.is_most and after.is_most
        errors = {place: abs(_share(text, place) - spoken_s / all_s) for place in ends}
        place = min(ends, key=errors.__getitem__)
        if is_spoken and errors[place] <= MAX_SHARE_ERROR:
            return _divided(segment, place, before, after)
    return None


def _ends(one: str, next_one: str) -> bool:
    """Whether a sentence ends between two characters; not in `3.14`."""
    return one in _SENTENCE_ENDS and not (next_one.isalnum() or next_one in _SENTENCE_ENDS)


def _at_word(segment: Segment, parts: Sequence[_Part]) -> tuple[Segment, Segment] | None:
    """Splits a segment at its first long pause, if any, between two words, rather behind a comma."""
    text, all_s = segment.text, sum(part.spoken_s for part in parts)
    places = list(accumulate(map(len, split_words(text, segment.language))))[:-1]
    for n, (before, after) in enumerate(pairwise(parts), start=1):
        if places and after.start_s - before.end_s >= MIN_SPLIT_S:
            share = sum(part.spoken_s for part in parts[:n]) / all_s
            errors = {
                place: abs(_share(text, place) - share) + _NO_COMMA * text[:place].rstrip()[-1].isalnum()
                for place in places
            }
            return _divided(segment, min(places, key=errors.__getitem__), before, after)
    return None


def _share(text: str, place: int) -> float:
    """Returns the fraction of a text before a place, by characters; a digit is spoken like four letters."""
    before, whole = (len(some) + 3 * sum(map(str.isdigit, some)) for some in (text[:place], text))
    return before / whole


def _divided(segment: Segment, place: int, before: _Part, after: _Part) -> tuple[Segment, Segment]:
    return (
        replace(segment, end_s=before.end_s, text=segment.text[:place]),
        replace(segment, start_s=after.start_s, text=segment.text[place:]),
    )


def words_held_to_speech(segment: Segment, speech: Speech, *, split: bool) -> tuple[Segment, ...]:
    """Returns a segment with words, each of them in one stretch of speech.

    A word without speech is unchanged. Words before a pause, or behind it, that have hardly any speech there,
    or that stray from their sentence, are moved to the others.

    Args:
        segment: a segment with words.
        speech: the speech of its window.
        split: whether to split the segment at pauses between its words: long ones, or between sentences.
    """
    last = len(segment.words) - 1
    placed = [
        (_stretch_of(word, speech, is_first=n == 0, is_last=n == last > 0), word)
        for n, word in enumerate(segment.words)
    ]
    sides: list[_Side] = [
        (number, [word for _, word in words]) for number, words in groupby(placed, lambda one: one[0])
    ]
    while len(sides) > 1:
        if not _is_spoken(sides[0], speech) or _strays(sides[0], sides[1], speech, is_first=True):
            sides[:2] = [(sides[1][0], [*sides[0][1], *sides[1][1]])]
        elif not _is_spoken(sides[-1], speech) or _strays(sides[-2], sides[-1], speech, is_first=False):
            sides[-2:] = [(sides[-2][0], [*sides[-2][1], *sides[-1][1]])]
        else:
            break
    words = [[_held(word, number, speech) for word in some] for number, some in sides]
    groups = [words[0]]
    for some in words[1:]:
        before = groups[-1][-1]
        needed_s = MIN_SENTENCE_SPLIT_S if before.text.rstrip().endswith(_SENTENCE_ENDS) else MIN_SPLIT_S
        if split and some[0].start_s - before.end_s >= needed_s:
            groups.append(some)
        else:
            groups[-1] = groups[-1] + some
    return tuple(_of_words(segment, group) for group in groups)


def _stretch_of(word: Word, speech: Speech, *, is_first: bool, is_last: bool) -> int | None:
    """Returns the number of the stretch that a word is in; None without speech.

    The first word of a segment takes in the pause before it, and the last one that behind it.
    """
    numbers = [
        n for n, (start_s, end_s) in enumerate(speech) if start_s < word.end_s and end_s > word.start_s
    ]
    if not numbers:
        return None
    parts = {number: _part(word.start_s, word.end_s, speech[number]) for number in numbers}
    spoken = [number for number in numbers if parts[number].spoken_s > 0]
    if spoken and (is_first or is_last):
        return spoken[-1] if is_first else spoken[0]
    return max(numbers, key=lambda n: (parts[n].spoken_s, parts[n].end_s - parts[n].start_s))


def _is_spoken(side: _Side, speech: Speech) -> bool:
    """Whether the words on one side of a pause have speech there."""
    number, words = side
    if number is None:
        return False
    return _part(words[0].start_s, words[-1].end_s, speech[number]).spoken_s >= _MIN_WORD_S


def _strays(before: _Side, after: _Side, speech: Speech, *, is_first: bool) -> bool:
    """Whether the words before a long pause, or behind it, are a part of the sentence on its other side."""
    (number, first), (next_number, second) = before, after
    if number is None or next_number is None:
        return False
    is_long = speech[next_number][0] - speech[number][1] >= MIN_SPLIT_S
    continues = first[-1].text.rstrip()[-1:].isalnum() and second[0].text.lstrip()[:1].islower()
    probability = max(word.probability for word in (first if is_first else second))
    return is_long and continues and probability < MAX_STRAY_PROBABILITY


def _held(word: Word, number: int | None, speech: Speech) -> Word:
    if number is None:
        return word
    first_s, last_s = speech[number]
    start_s, end_s = (min(max(time_s, first_s), last_s) for time_s in (word.start_s, word.end_s))
    return replace(word, start_s=start_s, end_s=end_s)


def _of_words(segment: Segment, words: Sequence[Word]) -> Segment:
    text = "".join(word.text for word in words)
    return replace(segment, start_s=words[0].start_s, end_s=words[-1].end_s, text=text, words=tuple(words))


def _parts(segment: Segment, speech: Speech) -> list[_Part]:
    parts = [
        _part(segment.start_s, segment.end_s, stretch)
        for stretch in speech
        if stretch[0] < segment.end_s and stretch[1] > segment.start_s
    ]
    if any(part.spoken_s for part in parts):
        return parts
    return [part._replace(spoken_s=part.end_s - part.start_s) for part in parts]


def _part(start_s: float, end_s: float, stretch: tuple[float, float]) -> _Part:
    first_s, last_s = max(start_s, stretch[0]), min(end_s, stretch[1])
    spoken_s = min(last_s, stretch[1] - _PADDING_S) - max(first_s, stretch[0] + _PADDING_S)
    is_most = 2 * (last_s - first_s) >= stretch[1] - stretch[0]
    return _Part(first_s, last_s, max(spoken_s, 0.0), is_most)
