"""Word timestamps compared with CTranslate2, faster-whisper and openai/whisper, with the same weights.

    pip install -e '.[local,bench]'
    python -m benchmarks.word_times --data ../shared/data --model openai/whisper-base

The first 30 s of each clip are decoded in one window, greedily and in float32. Words that both systems wrote
are compared in order. Besides the aligner, the systems differ as follows:

- CTranslate2's `align`: no difference, it gets whisper-beam's encoder output and text;
- faster-whisper's `word_timestamps=True`: it generates its own text, and pads a window with zeros after the
  log-mel, where whisper-beam (and transformers) pad with silence before it;
- `--reference`, a file of openai/whisper's words: the same. Where its weights were loaded from a file, as
  for `../shared/data/reference`, it has no alignment heads and uses every head of the upper half of the
  decoder; so does whisper-beam in this row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from benchmarks.accuracy import Clip, read_clips
from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from benchmarks.support.clips import read_clip
from model.checkpoint import Checkpoint, find_checkpoint
from model.interface import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    ModelOptions,
    Request,
    Samples,
    Segment,
)
from model.sharding import make_mesh
from model.transcriber import WhisperTranscriber
from model.word_times import with_words


class TimedWord(NamedTuple):
    """A word, in seconds of the clip."""

    start_s: float
    stop_s: float
    text: str


Pairs = list[tuple[TimedWord, TimedWord]]
"""Pairs of the same word with the times of two systems."""


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--sets", nargs="+", default=["english", "languages"])
    parser.add_argument("--reference", type=Path, help="words of openai/whisper, by path of the clip")
    parser.add_argument("--limit", type=int, default=1000, help="maximum number of clips of each set")
    args = parser.parse_args()
    systems = Systems(find_checkpoint(args.model), args.reference)
    columns = ("words", "median of starts", "of ends", "starts within 20, 50, 100 ms", "ends within")
    print(f"| set | against | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for group in args.sets:
        pairs: dict[str, Pairs] = {}
        for clip in read_clips(args.data, [group])[: args.limit]:
            for rival, more in systems.compare(clip, args.data).items():
                pairs.setdefault(rival, []).extend(more)
        for rival, found in pairs.items():
            if found:
                print(f"| {group} | {rival} | {describe(found)} |", flush=True)


class Systems:
    """All systems with word timestamps, each loaded once."""

    def __init__(self, checkpoint: Checkpoint, reference: Path | None) -> None:
        options = ModelOptions(model=checkpoint.name, dtype="float32", batch_size=1, beam_size=1)
        self._ours = WhisperTranscriber(checkpoint, options, make_mesh())
        self._upper_half = WhisperTranscriber(_with_upper_half(checkpoint), options, make_mesh())
        self._multilingual = self._ours.tokenizer.special.is_multilingual
        with ctranslate2_folder(checkpoint) as folder:
            self._aligner = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
            self._faster = WhisperModel(str(folder), device="cpu", compute_type="float32")
        self._reference = _read_reference(reference) if reference else {}

    def compare(self, clip: Clip, data: Path) -> dict[str, Pairs]:
        """Pairs whisper-beam's words of a clip's first 30 s with those of each other system."""
        samples = read_clip(clip.path)[:WINDOW_SAMPLES]
        (result,) = self._ours.transcribe([Request(samples, clip.language, word_timestamps=True)])
        words = _words_of(result.segments)
        pairs = {
            "CTranslate2": matched(words, self._aligned_by_ctranslate2(samples, clip.language)),
            "faster-whisper": matched(words, self._faster_words(samples, clip.language)),
        }
        known = self._reference.get(str(clip.path.relative_to(data.absolute())))
        if known:
            (result,) = self._upper_half.transcribe([Request(samples, clip.language, word_timestamps=True)])
            end_s = len(samples) / SAMPLE_RATE
            in_window = [word for word in known if word.stop_s <= end_s]
            pairs["openai/whisper"] = matched(_words_of(result.segments), in_window)
        return pairs

    def _aligned_by_ctranslate2(self, samples: Samples, language: str) -> list[TimedWord]:
        """Returns words timed by CTranslate2, for whisper-beam's text and encoder output."""
        (result,) = self._ours.transcribe([Request(samples, language)])
        text = [token for segment in result.segments for token in segment.tokens]
        special = self._ours.tokenizer.special
        task = [special.languages[language], special.transcribe] if self._multilingual else []
        features = ctranslate2.StorageView.from_array(self._ours.encode([samples]).copy())
        prompt = [special.start_of_transcript, *task]
        (alignment,) = self._aligner.align(features, prompt, [text], len(samples) // 160)
        path = np.array(alignment.alignments)
        starts = path[np.unique(path[:, 0], return_index=True)[1], 1]
        probs = np.array(alignment.text_token_probs, np.float32)
        return _words_of(
            with_words(result.segments, starts, probs, self._ours.tokenizer, len(samples), language)
        )

    def _faster_words(self, samples: Samples, language: str) -> list[TimedWord]:
        """Returns faster-whisper's words, of its own text."""
        segments, _ = self._faster.transcribe(
            samples,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return [TimedWord(word.start, word.end, word.word) for segment in segments for word in segment.words]


def matched(ours: Sequence[TimedWord], theirs: Sequence[TimedWord]) -> Pairs:
    """Returns the pairs in the longest sequences of equal words, ignoring case and punctuation."""
    keys = [[_normalised(word.text) for word in words] for words in (ours, theirs)]
    blocks = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False).get_matching_blocks()
    return [(ours[a + i], theirs[b + i]) for a, b, n in blocks for i in range(n) if keys[0][a + i]]


def describe(pairs: Pairs) -> str:
    """Formats the cells of a row of the table."""
    starts = np.array([abs(a.start_s - b.start_s) for a, b in pairs]) * 1000
    ends = np.array([abs(a.stop_s - b.stop_s) for a, b in pairs]) * 1000
    cells = [str(len(pairs)), f"{np.median(starts):.0f} ms", f"{np.median(ends):.0f} ms"]
    for differences in (starts, ends):
        # Half a millisecond of tolerance, as the other systems round their times.
        shares = [100 * np.mean(differences <= limit + 0.5) for limit in (20, 50, 100)]
        cells.append(", ".join(f"{share:.1f} %" for share in shares))
    return " | ".join(cells)


def _words_of(segments: Iterable[Segment]) -> list[TimedWord]:
    return [
        TimedWord(word.start / SAMPLE_RATE, word.stop / SAMPLE_RATE, word.text)
        for segment in segments
        for word in segment.words
    ]


def _read_reference(path: Path) -> dict[str, list[TimedWord]]:
    """Returns words by path of the clip."""
    clips = json.loads(path.read_text())
    return {
        name: [
            TimedWord(word["start"], word["end"], word["word"])
            for segment in clip["segments"]
            for word in segment["words"]
        ]
        for name, clip in clips.items()
    }


def _normalised(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _with_upper_half(checkpoint: Checkpoint) -> Checkpoint:
    layers = range(checkpoint.config.decoder_layers // 2, checkpoint.config.decoder_layers)
    heads = tuple((layer, head) for layer in layers for head in range(checkpoint.config.decoder_heads))
    return replace(checkpoint, decoding=replace(checkpoint.decoding, alignment_heads=heads))


if __name__ == "__main__":
    main()
