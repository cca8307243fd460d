"""Word timestamps from the alignment of tokens with audio, on the host.

Limits on word durations and the reconciliation of words with segments follow `find_alignment` and
`add_word_timestamps` of `whisper/timing.py` (openai/whisper), with these differences: windows are
independent, so the pause before a window's first word is measured from the window's start; a word never
crosses the end of its segment, so the words of a segment concatenate to its text; times never decrease; and
no word is longer than it can be spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.align import Alignment, TokenBatch
from model.dtw import first_columns
from model.interface import SAMPLE_RATE, Segment, Word
from model.tokens import SAMPLES_PER_TIMESTAMP, WhisperTokenizer
from model.words import merge_punctuation, split_words

_SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001
_MAX_MEDIAN = 7 * SAMPLE_RATE // 10  # 0.7 s: a longer median means that the alignment failed
_TOLERANCE = SAMPLE_RATE // 2  # 0.5 s: maximal difference between the times of a segment and of its words

_LONGEST = 2 * SAMPLE_RATE
_LONGEST_CHARACTER = SAMPLE_RATE // 10
_LONGEST_DIGIT = SAMPLE_RATE // 2
"""Samples in a word: at most 2 s, or 0.1 s a character, or 0.5 s a digit, whichever is most. Of 1,727 words
of read speech in seven languages, as openai/whisper timed them, 99 % are shorter than 1.1 s and the longest
has 1.56 s; names of 15 letters have 0.08 s a letter, and years 0.32 s a digit."""


def add_words(
    windows: Sequence[Sequence[Segment]],
    batch: TokenBatch,
    alignment: Alignment,
    tokenizer: WhisperTokenizer,
    n_samples: Sequence[int],
    languages: Sequence[str],
) -> list[tuple[Segment, ...]]:
    """Returns the segments of each window with their words.

    Args:
        windows: segments of each window; their concatenated tokens were packed.
        batch: result of `model.align.pack`; may have spare rows.
        alignment: result of `model.align.align`, as numpy arrays.
        tokenizer: tokenizer of the model.
        n_samples: length of each window without padding.
        languages: language code of each window's text.
    """
    n = len(windows)
    weights, probs = np.asarray(alignment.weights[:n]), np.asarray(alignment.token_probs)
    n_rows = np.asarray(batch.n_text[:n]) + 1
    positions = first_columns(-weights, n_rows.tolist(), np.asarray(batch.n_positions[:n]).tolist())
    return [
        with_words(segments, positions[row], probs[row], tokenizer, n_samples[row], languages[row])
        for row, segments in enumerate(windows)
    ]


def with_words(
    segments: Sequence[Segment],
    positions: NDArray[np.int64],
    token_probs: NDArray[np.float32],
    tokenizer: WhisperTokenizer,
    n_samples: int,
    language: str,
) -> tuple[Segment, ...]:
    """Returns a window's segments with their words.

    The times of the segments stay those that the model wrote: what is decoded further, and what is filtered,
    depends on them, and is to be the same with and without words. Segments without tokens are unchanged.

    Args:
        segments: segments of one window, in order of time.
        positions: int64[n + 1], start of each of the segments' n tokens and end of the last one, in steps of
            20 ms.
        token_probs: float32[>= n], probability of each token; a word's is their mean, without punctuation.
        tokenizer: tokenizer of the model.
        n_samples: length of the window without padding.
        language: language code of the text, which determines how it is split into words.
    """
    times = positions * SAMPLES_PER_TIMESTAMP
    words: list[list[Word]] = []
    first = 0
    for segment in segments:
        last = first + len(segment.tokens)
        words.append(_timed(segment, times[first : last + 1], token_probs[first:last], tokenizer, language))
        first = last
    median = _median_duration(words)
    merged = [merge_punctuation(part) for part in _shorten_at_sentence_ends(words, median)]
    return _reconcile(segments, merged, median, n_samples)


def _timed(
    segment: Segment,
    times: NDArray[np.int64],
    probs: NDArray[np.float32],
    tokenizer: WhisperTokenizer,
    language: str,
) -> list[Word]:
    """Returns the words of a segment, punctuation as separate words, with times from its tokens."""
    words = []
    first = 0
    for text, n_tokens in split_words(segment.tokens, tokenizer, language):
        last = first + n_tokens
        words.append(Word(int(times[first]), int(times[last]), text, float(probs[first:last].mean())))
        first = last
    return words


def _median_duration(words: Sequence[Sequence[Word]]) -> int:
    """Median duration in samples of the words with positive duration; at most 0.7 s."""
    durations = [word.stop - word.start for part in words for word in part if word.stop > word.start]
    return min(_MAX_MEDIAN, int(np.median(durations))) if durations else 0


def _shorten_at_sentence_ends(words: Sequence[Sequence[Word]], median: int) -> list[list[Word]]:
    """Removes the pause between sentences from the full stop, or from the word after it."""
    longest = 2 * median
    shortened: list[list[Word]] = []
    before: Word | None = None
    for part in words:
        shortened.append([])
        for word in part:
            if before is not None and word.stop - word.start > longest > 0:
                if word.text in _SENTENCE_ENDS:
                    word = replace(word, stop=word.start + longest)
                elif before.text in _SENTENCE_ENDS:
                    word = replace(word, start=word.stop - longest)
            shortened[-1].append(word)
            before = word
    return shortened


def _reconcile(
    segments: Sequence[Segment], words: Sequence[list[Word]], median: int, n_samples: int
) -> tuple[Segment, ...]:
    """Returns the segments with words whose times are non-decreasing, and near those of their segment."""
    reconciled = []
    floor = 0
    for segment, part in zip(segments, words, strict=True):
        if not part:
            reconciled.append(segment)
            continue
        part = _shorten_after_pause(part, floor, median)
        part = _without_pauses(_clamp_to_segment(part, segment, median))
        part = _in_order(part, floor, n_samples)
        floor = part[-1].stop
        reconciled.append(replace(segment, words=tuple(part)))
    return tuple(reconciled)


def _shorten_after_pause(words: list[Word], previous_stop: int, median: int) -> list[Word]:
    """Removes the pause before a segment from its first two words."""
    longest = 2 * median
    first, second = words[0], words[1] if len(words) > 1 else None
    if first.stop - previous_stop <= 2 * longest:
        return words
    if first.stop - first.start <= longest and (second is None or second.stop - first.start <= 2 * longest):
        return words
    rest = words[1:]
    if second is not None and second.stop - second.start > longest:
        boundary = max(second.stop // 2, second.stop - longest)
        first = replace(first, stop=boundary)
        rest[0] = replace(second, start=boundary)
    return [replace(first, start=max(0, first.stop - longest)), *rest]


def _clamp_to_segment(words: list[Word], segment: Segment, median: int) -> list[Word]:
    """Uses the segment's own start or stop where its first or last word extends far beyond it."""
    first = words[0]
    if first.start + _TOLERANCE < segment.start < first.stop:
        start = max(0, min(first.stop - median, segment.start))
        words = [replace(first, start=start), *words[1:]]
    last = words[-1]
    if last.start < segment.stop < last.stop - _TOLERANCE:
        stop = max(last.start + median, segment.stop)
        words = [*words[:-1], replace(last, stop=stop)]
    return words


def _without_pauses(words: Sequence[Word]) -> list[Word]:
    """Limits the length of words: the last one loses what is behind it, the others what is before them.

    A token's time begins where that of the token before it ends, so a word takes in the pause before it.
    """
    limited = []
    for number, word in enumerate(words):
        longest = _longest(word.text)
        if word.stop - word.start <= longest:
            limited.append(word)
        elif 0 < number == len(words) - 1:
            limited.append(replace(word, stop=word.start + longest))
        else:
            limited.append(replace(word, start=word.stop - longest))
    return limited


def _longest(text: str) -> int:
    """Returns the number of samples that a word can last."""
    n_characters, n_digits = len(text.strip()), sum(map(str.isdigit, text))
    return max(_LONGEST, _LONGEST_CHARACTER * n_characters, _LONGEST_DIGIT * n_digits)


def _in_order(words: Sequence[Word], floor: int, n_samples: int) -> list[Word]:
    """Clamps word times to `floor` ... `n_samples`, and makes them non-decreasing."""
    ordered = []
    for word in words:
        start = min(max(word.start, floor), n_samples)
        floor = min(max(word.stop, start), n_samples)
        ordered.append(replace(word, start=start, stop=floor))
    return ordered
