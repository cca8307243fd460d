"""Simulated talks, and a simulated recogniser that transcribes them window by window.

They measure the merge in isolation: every word's true time is known, and the windows that contain it. The
recogniser imitates Whisper's faults: it divides each window into its own segments, whose times are inexact,
and at the edges of a window it drops words that are cut, writes them whole, or writes other words. Further
error rates can be set (`Recogniser`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transforms.core.types import Segment, WindowTranscript, Word

_SENTENCE = "and of a in that it is you we was for on this with as but they be have not are so at what the to"
COMMON = _SENTENCE.split()
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeio"]
COUNTING = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@dataclass(frozen=True)
class SpokenWord:
    """A word of a talk with its true times, in seconds of the recording."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Talk:
    """The words of a recording of `duration_s` seconds."""

    words: tuple[SpokenWord, ...]
    duration_s: float

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Recogniser:
    """Error model of a simulated recogniser. By default words that are not cut are recognised correctly.

    Attributes:
        jitter_s: maximum error of a segment's start or end.
        p_cut_dropped: probability that a word cut by a window's edge is omitted.
        p_cut_garbled: probability that such a word is replaced; else it is written whole.
        p_substituted: probability that a word is replaced.
        p_deleted: probability that a word is omitted.
        p_inserted: probability that a wrong word follows a word.
        p_skipped: probability that a segment is omitted.
        p_empty: probability that a window has no text.
        timestamped: whether segments are timed; else a window has one segment, with the window's bounds.
        word_jitter_s: maximum error of a word's start or end; None if words are not timed.
        uses_vad: whether voice activity detection reports the intervals with speech.
    """

    jitter_s: float = 0.5
    p_cut_dropped: float = 0.5
    p_cut_garbled: float = 0.0
    p_substituted: float = 0.0
    p_deleted: float = 0.0
    p_inserted: float = 0.0
    p_skipped: float = 0.0
    p_empty: float = 0.0
    timestamped: bool = True
    word_jitter_s: float | None = None
    uses_vad: bool = False


@dataclass(frozen=True)
class RecognisedWord:
    """A word of a recogniser's transcript.

    Attributes:
        text: the recognised word.
        start_s: true start of the spoken word.
        end_s: true end of the spoken word.
    """

    text: str
    start_s: float
    end_s: float


def make_talk(seed: int, duration_s: float = 300.0) -> Talk:
    """Generates a talk: phrases at slow to fast rates, pauses, silences, and repeats of words and phrases.

    Words last 0.1 to 1 s, with a pace that drifts between 1.3 and 5 words a second; pauses between phrases
    last up to 2 s, and one in twelve is a silence of up to 20 s. One phrase in four is a repeat: a stutter,
    "no no no", counting, a refrain, or the phrase before once more.
    """
    rng = random.Random(seed)
    rare = ["".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3)))) for _ in range(400)]
    vocabulary = COMMON * 8 + rare
    words: list[SpokenWord] = []
    now_s = rng.uniform(0.0, 3.0)
    pace = rng.uniform(1.3, 5.0)
    phrase = _plain_phrase(rng, vocabulary)
    while now_s < duration_s:
        phrase = _next_phrase(rng, vocabulary, phrase)
        pace = min(max(pace * rng.uniform(0.8, 1.25), 1.3), 5.0)
        for text in phrase:
            length_s = min((0.4 + 0.15 * len(text)) / pace * rng.uniform(0.7, 1.3), 1.0)
            words.append(SpokenWord(text, now_s, now_s + length_s))
            now_s += length_s + (rng.uniform(0.1, 0.6) if rng.random() < 0.08 else 0.0)
        now_s += rng.uniform(4.0, 20.0) if rng.random() < 1 / 12 else rng.uniform(0.0, 2.0) ** 2 / 2
    return Talk(tuple(word for word in words if word.end_s <= duration_s), duration_s)


def window_bounds(duration_s: float, chunk_s: float, shared_s: float) -> list[tuple[float, float]]:
    """Starts and ends of the plain plan: the last window is the first one that reaches the end."""
    step_s = chunk_s - shared_s
    n_windows = 1 + max(0, math.ceil((duration_s - chunk_s) / step_s))
    return [(n * step_s, min(n * step_s + chunk_s, duration_s)) for n in range(n_windows)]


def recognise(
    talk: Talk, recogniser: Recogniser, seed: int, chunk_s: float = 30.0, shared_s: float = 5.0
) -> tuple[list[WindowTranscript], list[list[RecognisedWord]]]:
    """Transcribes a talk in windows with a simulated recogniser, each independently.

    Returns:
        A transcript for each window, and the same words with their true times.
    """
    rng = random.Random(seed)
    transcripts, recognised = [], []
    for index, (start_s, end_s) in enumerate(window_bounds(talk.duration_s, chunk_s, shared_s)):
        phrases = [] if rng.random() < recogniser.p_empty else _phrases(rng, recogniser, talk, start_s, end_s)
        segments = tuple(_segments(rng, recogniser, phrases, start_s, end_s))
        timed = recogniser.timestamped
        speech = tuple(_speech(talk, start_s, end_s)) if recogniser.uses_vad else None
        transcripts.append(
            WindowTranscript("talk", index, start_s, end_s, segments, "en", timestamped=timed, speech=speech)
        )
        recognised.append([word for phrase in phrases for word in phrase])
    return transcripts, recognised


def _plain_phrase(rng: random.Random, vocabulary: Sequence[str]) -> list[str]:
    return rng.choices(vocabulary, k=rng.randint(2, 14))


def _next_phrase(rng: random.Random, vocabulary: Sequence[str], last: list[str]) -> list[str]:
    plain = _plain_phrase(rng, vocabulary)
    if rng.random() >= 0.25:
        return plain
    stutter = [word for word in plain for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    no_no = [rng.choice(("no", "yeah", "very", "ha"))] * rng.randint(3, 8) + plain[:3]
    counting = COUNTING[: rng.randint(3, 10)] * rng.choice((1, 2))
    refrain = plain[: rng.randint(2, 6)] * rng.randint(2, 4)
    return rng.choice((stutter, no_no, counting, refrain, last))


def _phrases(
    rng: random.Random, recogniser: Recogniser, talk: Talk, start_s: float, end_s: float
) -> list[list[RecognisedWord]]:
    """Returns the recognised words of a window, in groups that become its segments."""
    phrases: list[list[RecognisedWord]] = []
    limit_s = 0.0
    for word in talk.words:
        if word.end_s <= start_s or word.start_s >= end_s:
            continue
        begins_s, ends_s = max(word.start_s, start_s), min(word.end_s, end_s)
        is_cut = word.start_s < start_s or word.end_s > end_s
        written = [
            RecognisedWord(text, begins_s, ends_s) for text in _write(rng, recogniser, word.text, is_cut)
        ]
        if not written:
            continue
        if not phrases or ends_s > limit_s or begins_s - phrases[-1][-1].end_s > 1.0:
            phrases.append([])
            limit_s = begins_s + rng.uniform(2.0, 8.0)
        phrases[-1] += written
    return [phrase for phrase in phrases if rng.random() >= recogniser.p_skipped]


def _write(rng: random.Random, recogniser: Recogniser, text: str, is_cut: bool) -> Iterator[str]:
    chance = rng.random()
    p_deleted = recogniser.p_deleted + is_cut * recogniser.p_cut_dropped
    p_changed = recogniser.p_substituted + is_cut * recogniser.p_cut_garbled
    if chance >= p_deleted:
        yield _other_word(rng) if chance < p_deleted + p_changed else text
    if rng.random() < recogniser.p_inserted:
        yield _other_word(rng)


def _other_word(rng: random.Random) -> str:
    return rng.choice(COMMON) if rng.random() < 0.3 else "".join(rng.choices(SYLLABLES, k=2)) + "x"


def _segments(
    rng: random.Random,
    recogniser: Recogniser,
    phrases: Sequence[Sequence[RecognisedWord]],
    start_s: float,
    end_s: float,
) -> Iterator[Segment]:
    """Yields phrases as segments, timed as by Whisper: monotonic, inside the window, in steps of 0.02 s."""
    if not recogniser.timestamped:
        phrases = [[word for phrase in phrases for word in phrase]] if phrases else []
    last_s = start_s
    for phrase in phrases:
        times = [start_s, end_s]
        if recogniser.timestamped:
            # With word times, a segment lasts from its first word to its last.
            jitter_s = recogniser.jitter_s if recogniser.word_jitter_s is None else recogniser.word_jitter_s
            off = [rng.uniform(-jitter_s, jitter_s) for _ in range(2)]
            times = [phrase[0].start_s + off[0], phrase[-1].end_s + off[1]]
        begin_s, stop_s = (min(max(round(time_s / 0.02) * 0.02, last_s), end_s) for time_s in times)
        stop_s = max(begin_s, stop_s)
        text = "".join(f" {word.text}" for word in phrase)
        words = _timed(rng, recogniser, phrase, begin_s, stop_s)
        yield Segment(begin_s, stop_s, text, -0.3, 0.01, 1.5, 0.0, words=words)
        last_s = stop_s


def _timed(
    rng: random.Random,
    recogniser: Recogniser,
    phrase: Sequence[RecognisedWord],
    begin_s: float,
    stop_s: float,
) -> tuple[Word, ...]:
    """Returns the timed words of a segment, if words are timed: monotonic and inside the segment."""
    if recogniser.word_jitter_s is None:
        return ()
    words, last_s = [], begin_s
    for word in phrase:
        off = [rng.uniform(-recogniser.word_jitter_s, recogniser.word_jitter_s) for _ in range(2)]
        starts_s = min(max(word.start_s + off[0], last_s), stop_s)
        last_s = min(max(word.end_s + off[1], starts_s), stop_s)
        words.append(Word(starts_s, last_s, f" {word.text}", 0.9))
    return tuple(words)


def _speech(talk: Talk, start_s: float, end_s: float) -> Iterator[tuple[float, float]]:
    """Yields the intervals of speech in a window: words with 0.4 s around them (`speech_intervals`)."""
    begun_s: float | None = None
    until_s = 0.0
    for word in talk.words:
        if word.end_s <= start_s or word.start_s >= end_s:
            continue
        if begun_s is not None and word.start_s - 0.4 > until_s:
            yield max(begun_s, start_s), min(until_s, end_s)
            begun_s = None
        begun_s = word.start_s - 0.4 if begun_s is None else begun_s
        until_s = word.end_s + 0.4
    if begun_s is not None:
        yield max(begun_s, start_s), min(until_s, end_s)
