"""Comparison of the merge of windows with Hugging Face's, on simulated talks and a simulated recogniser.

    python -m benchmarks.merge
    python -m benchmarks.merge --talks 100 --minutes 10

Prints a Markdown table with the words lost / doubled / wrong per talk: deletions, insertions and
substitutions of the Levenshtein alignment with the words of the talk. "by true times" shows the errors of
the recogniser alone: neighbouring windows with text are cut in the middle of their overlap by the true times
of words, which no merge knows. Hugging Face's merge is `_decode_asr` of
`transformers.models.whisper.tokenization_whisper`, which its speech recognition pipeline calls for Whisper.
It gets the same windows as token ids (one token per word) and strides of half the overlap per side; once
with `return_timestamps=True` and the segments' times as timestamp tokens, and once without.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import jiwer
import numpy as np
from transformers.models.whisper.tokenization_whisper import _decode_asr
from transformers.utils import logging

from benchmarks.support.simulated_talks import RecognisedWord, Recogniser, Talk, make_talk, recognise
from transforms.core.types import WindowTranscript
from transforms.merging.merge import merge_windows

TIME_PRECISION_S = 0.02  # of Whisper's timestamp tokens


@dataclass(frozen=True)
class Condition:
    """A row of the table."""

    name: str
    recogniser: Recogniser
    shared_s: float = 5.0


ERRORS = Recogniser(p_substituted=0.05, p_deleted=0.03, p_inserted=0.02, p_cut_garbled=0.3, p_cut_dropped=0.3)
CONDITIONS = (
    Condition("perfect, exact times", Recogniser(jitter_s=0.0)),
    Condition("perfect, times 0.5 s off", Recogniser()),
    Condition("perfect, times 1 s off", Recogniser(jitter_s=1.0)),
    Condition("perfect, cut words garbled", Recogniser(p_cut_dropped=0.0, p_cut_garbled=1.0)),
    Condition("perfect, 10 s shared", Recogniser(), shared_s=10.0),
    Condition("perfect, 2 s shared", Recogniser(), shared_s=2.0),
    Condition("perfect, words timed to 0.1 s", Recogniser(word_jitter_s=0.1)),
    Condition("perfect, no times, VAD", Recogniser(timestamped=False, uses_vad=True)),
    Condition("perfect, no times", Recogniser(timestamped=False)),
    Condition("one window in ten empty", Recogniser(p_empty=0.1)),
    Condition("one segment in twenty skipped", Recogniser(p_skipped=0.05)),
    Condition("10 % word errors", ERRORS),
    Condition("10 % word errors, no times", replace(ERRORS, timestamped=False)),
    Condition("10 % word errors, words timed", replace(ERRORS, word_jitter_s=0.1)),
    Condition("20 % word errors", replace(ERRORS, p_substituted=0.1, p_deleted=0.06, p_inserted=0.04)),
    Condition("10 % insertions", Recogniser(p_inserted=0.1)),
    Condition("10 % deletions", Recogniser(p_deleted=0.1)),
)

Windows = Sequence[WindowTranscript]
RecognisedWords = Sequence[Sequence[RecognisedWord]]
Merge = Callable[[Talk, Windows, RecognisedWords], str]


def ours(talk: Talk, windows: Windows, recognised: RecognisedWords) -> str:
    """`transforms.merging.merge.merge_windows`."""
    del recognised  # only `by_true_times` uses the true times
    return merge_windows(windows, talk.duration_s).text


def by_true_times(talk: Talk, windows: Windows, recognised: RecognisedWords) -> str:
    """Cuts each window in the middles of its overlaps by the true times of its words."""
    speaking = [(window, words) for window, words in zip(windows, recognised, strict=True) if words]
    middles = [(left.end_s + right.start_s) / 2 for (left, _), (right, _) in pairwise(speaking)]
    bounds = pairwise([0.0, *middles, talk.duration_s])
    return " ".join(
        word.text
        for (_, words), (start_s, end_s) in zip(speaking, bounds, strict=False)
        for word in words
        if start_s <= (word.start_s + word.end_s) / 2 < end_s
    )


class WordTokenizer:
    """The part of Whisper's tokenizer that `_decode_asr` uses, with one token per word."""

    all_special_ids = ()
    timestamp_begin = 1_000_000  # ids below are words, from here on times

    def __init__(self, windows: Windows) -> None:
        """Numbers the words of all windows."""
        texts = [segment.text for window in windows for segment in window.segments]
        words = sorted({word for text in texts for word in text.split()})
        self.words = words
        self.ids = {word: i for i, word in enumerate(words)}

    def convert_tokens_to_ids(self, token: str) -> int:
        """Returns the id of a special token, just below the timestamps."""
        return self.timestamp_begin - (1 if token == "<|notimestamps|>" else 2)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the words of the ids, each preceded by a space."""
        return "".join(f" {self.words[i]}" for i in ids)

    def _strip_prompt(self, ids: list[int], prompt_id: int, start_id: int) -> list[int]:
        del prompt_id, start_id  # no prompt is used
        return ids

    def encode_window(self, window: WindowTranscript, timed: bool) -> list[int]:
        """Encodes a window as Whisper does: a timestamp, the segment's words, a timestamp."""
        ids: list[int] = []
        for segment in window.segments:
            words = [self.ids[word] for word in segment.text.split()]
            times = [
                self.timestamp_begin + round((time_s - window.start_s) / TIME_PRECISION_S)
                for time_s in (segment.start_s, segment.end_s)
            ]
            ids += [times[0], *words, times[1]] if timed else words
        return ids


def hugging_face(windows: Windows, timed: bool) -> str:
    """`_decode_asr` of transformers on the same windows."""
    tokenizer = WordTokenizer(windows)
    outputs = []
    for number, window in enumerate(windows):
        before = (windows[number - 1].end_s - window.start_s) / 2 if number else 0.0
        after = (window.end_s - windows[number + 1].start_s) / 2 if number + 1 < len(windows) else 0.0
        tokens = np.array([tokenizer.encode_window(window, timed)], dtype=np.int64)
        outputs.append({"tokens": tokens, "stride": (window.end_s - window.start_s, before, after)})
    text, _ = _decode_asr(
        tokenizer, outputs, return_timestamps=timed, return_language=False, time_precision=TIME_PRECISION_S
    )
    return str(text).strip()


def hugging_face_timed(talk: Talk, windows: Windows, recognised: RecognisedWords) -> str:
    """Hugging Face's merge with `return_timestamps=True`."""
    del talk, recognised
    return hugging_face(windows, timed=True)


def hugging_face_plain(talk: Talk, windows: Windows, recognised: RecognisedWords) -> str:
    """Hugging Face's merge with `return_timestamps=False`, the default of its pipeline."""
    del talk, recognised
    return hugging_face(windows, timed=False)


MERGES: dict[str, Merge] = {
    "by true times": by_true_times,
    "ours": ours,
    "Hugging Face, timestamps": hugging_face_timed,
    "Hugging Face, none": hugging_face_plain,
}


def measure(condition: Condition, n_talks: int, duration_s: float) -> dict[str, list[float]]:
    """Returns the words lost, doubled and wrong per talk, for each of `MERGES`."""
    totals = {name: [0, 0, 0] for name in MERGES}
    for seed in range(n_talks):
        talk = make_talk(seed, duration_s)
        windows, recognised = recognise(talk, condition.recogniser, seed, shared_s=condition.shared_s)
        for name, merge in MERGES.items():
            errors = jiwer.process_words(talk.text, merge(talk, windows, recognised))
            for n, count in enumerate((errors.deletions, errors.insertions, errors.substitutions)):
                totals[name][n] += count
    return {name: [count / n_talks for count in counts] for name, counts in totals.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--talks", type=int, default=20, help="number of talks per row")
    parser.add_argument("--minutes", type=float, default=5.0, help="length of a talk")
    options = parser.parse_args(argv)
    logging.set_verbosity_error()  # _decode_asr warns wherever a window's text ends without a timestamp
    print(f"Words lost / doubled / wrong per talk of {options.minutes:g} minutes, mean of {options.talks}.\n")
    print("| recogniser |", " | ".join(MERGES), "|")
    print("|---" * (len(MERGES) + 1) + "|")
    for condition in CONDITIONS:
        row = measure(condition, options.talks, 60.0 * options.minutes)
        cells = [" / ".join(f"{count:.2f}" for count in row[name]) for name in MERGES]
        print(f"| {condition.name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
