r"""Comparison of the model with openai/whisper on torch, on the same weights and samples: ids, scores, words.

    python -m benchmarks.openai_parity --openai_python ../openai/bin/python \
      --audio ../shared/data/english ../shared/data/crowd ../shared/data/languages

`benchmarks/rivals/openai_whisper.py` says how to make the Python of `--openai_python`. Both decode each clip
as one window of 30 s in float32, by `whisper.decode` and by `WhisperTranscriber`; each makes its own log-mel.
Ids are identical if the text tokens and the times of all segments are. Scores are compared where they are.

Clips whose ids differ are printed with both texts and scores, and so are words whose times differ by more
than `TOLERANCE_S`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rivals.openai_whisper import decode_with_openai_whisper
from benchmarks.support.clips import read_clip
from model.interface import (
    SAMPLE_RATE,
    TRANSCRIBE,
    TRANSLATE,
    WINDOW_SAMPLES,
    ModelOptions,
    Request,
    Samples,
    Segment,
    WindowResult,
)
from model.tokens import WhisperTokenizer, segments_of
from model.transcriber import WhisperTranscriber, load_transcriber

MODELS = ("openai/whisper-base", "openai/whisper-tiny.en")
PROMPT = "The following is a recording of a reader, who speaks of printing, of politics, and of the weather."
TOLERANCE_S = 0.02
ROUNDING_S = 0.005  # openai/whisper rounds times to 0.01 s
_SUFFIXES = (".flac", ".wav", ".mp3")


@dataclass(frozen=True)
class Setting:
    """A way to decode windows.

    Attributes:
        name: its name in the table.
        beam_size: 1 is greedy.
        prompt: text that came before.
        task: `transcribe` or `translate`.
        timestamps: whether the model writes times.
        words: whether words are timed.
    """

    name: str
    beam_size: int = 1
    prompt: str = ""
    task: str = TRANSCRIBE
    timestamps: bool = True
    words: bool = False

    def for_openai(self, language: str | None) -> Mapping[str, Any]:
        """Returns fields of `whisper.DecodingOptions`, and `words`."""
        return {
            "language": language,
            "beam_size": self.beam_size if self.beam_size > 1 else None,
            "prompt": self.prompt or None,
            "task": self.task,
            "without_timestamps": not self.timestamps,
            "words": self.words,
        }

    def request(self, samples: Samples, language: str | None) -> Request:
        """Returns the same for whisper-beam."""
        return Request(
            samples,
            language,
            prompt=self.prompt,
            task=self.task,
            timestamps=self.timestamps,
            word_timestamps=self.words,
            full_window=True,
        )


SETTINGS = (
    Setting("greedy, word times", words=True),
    Setting("beams of 5, word times", beam_size=5, words=True),
    Setting("greedy, no timestamps", timestamps=False),
    Setting("greedy, prompt", prompt=PROMPT),
    Setting("greedy, translate", task=TRANSLATE),
)


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--openai_python", type=Path, required=True, help="a Python with openai/whisper")
    parser.add_argument("--audio", nargs="+", type=Path, required=True, help="folders of clips")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--clips", type=int, default=40, help="number of clips, of all folders alike")
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--settings", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    settings = [setting for setting in SETTINGS if setting.name in args.settings]
    clips = {str(path): read_clip(path)[:WINDOW_SAMPLES] for path in chosen_clips(args.audio, args.clips)}
    comparisons = [
        one for model in args.models for one in compare(args.openai_python, model, clips, settings)
    ]
    print("| model, setting | clips | identical ids | avg_logprob | no_speech_prob | same language |")
    print("|---" * 6 + "|")
    for comparison in comparisons:
        print(comparison.row())
    print("\n| model, setting | words | times differ | largest difference of the others | of probabilities |")
    print("|---" * 5 + "|")
    for comparison in comparisons:
        if comparison.setting.words:
            print(comparison.row_of_words())
    for comparison in comparisons:
        for line in comparison.differences():
            print(f"<!-- {line} -->")


def chosen_clips(folders: Sequence[Path], n: int) -> list[Path]:
    """Returns `n` clips, spread evenly over the folders, and over the files of each in order of their names.

    A folder that has fewer than its share leaves the rest to those after it.
    """
    found = [
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES) for folder in folders
    ]
    chosen: list[Path] = []
    for number, files in enumerate(sorted(found, key=len)):
        share = min(len(files), (n - len(chosen)) // (len(found) - number))
        chosen += [files[index * len(files) // share] for index in range(share)]
    return sorted(chosen)


def compare(
    python: Path, model: str, clips: Mapping[str, Samples], settings: Sequence[Setting]
) -> Iterator[Comparison]:
    """Yields the results of both systems for each of these settings that the model knows."""
    transcribers = {
        size: load_transcriber(
            ModelOptions(model=model, dtype="float32", quantization="none", beam_size=size)
        )
        for size in sorted({setting.beam_size for setting in settings})
    }
    tokenizer = next(iter(transcribers.values())).tokenizer
    multilingual = tokenizer.special.is_multilingual
    language = None if multilingual else "en"
    settings = [setting for setting in settings if multilingual or setting.task != TRANSLATE]
    fields = [setting.for_openai(language) for setting in settings]
    theirs = decode_with_openai_whisper(python, model, list(clips.values()), fields)
    for setting, results in zip(settings, theirs, strict=True):
        ours = _decode(transcribers[setting.beam_size], setting, clips, language)
        pairs = [
            Pair(name, clips[name], one, other) for name, one, other in zip(clips, ours, results, strict=True)
        ]
        yield Comparison(model, setting, tokenizer, pairs)


def _decode(
    model: WhisperTranscriber, setting: Setting, clips: Mapping[str, Samples], language: str | None
) -> list[WindowResult]:
    return model.transcribe([setting.request(samples, language) for samples in clips.values()])


class TimedWord(NamedTuple):
    """A word with its times in seconds."""

    text: str
    start_s: float
    end_s: float
    probability: float

    def distance_s(self, other: TimedWord) -> float:
        """Returns the larger of the differences of both times."""
        return max(abs(self.start_s - other.start_s), abs(self.end_s - other.end_s))


class Pair(NamedTuple):
    """Both results for one clip; `theirs` is one of `decode_with_openai_whisper`."""

    name: str
    samples: Samples
    ours: WindowResult
    theirs: Mapping[str, Any]

    def segments(self, tokenizer: WhisperTokenizer) -> tuple[Segment, ...]:
        """Returns openai/whisper's ids as segments."""
        return segments_of(self.theirs["ids"], tokenizer, len(self.samples))

    def is_identical(self, tokenizer: WhisperTokenizer) -> bool:
        """Whether texts and times of all segments are the same, token by token."""
        both = (self.ours.segments, self.segments(tokenizer))
        ids, others = ([(s.start, s.stop, s.tokens) for s in segments] for segments in both)
        return ids == others

    def words(self) -> list[tuple[TimedWord, TimedWord]]:
        """Returns the words of both, in pairs; none where they are not the same."""
        ours = [
            TimedWord(word.text, word.start / SAMPLE_RATE, word.stop / SAMPLE_RATE, word.probability)
            for segment in self.ours.segments
            for word in segment.words
        ]
        theirs = [
            TimedWord(word["word"], word["start"], word["end"], word["probability"])
            for word in self.theirs["words"]
        ]
        same = [word.text for word in ours] == [word.text for word in theirs]
        return list(zip(ours, theirs, strict=True)) if same else []


@dataclass(frozen=True)
class Comparison:
    """Results of both systems for all clips, in one setting."""

    model: str
    setting: Setting
    tokenizer: WhisperTokenizer
    pairs: Sequence[Pair]

    @property
    def title(self) -> str:
        """The model and the setting."""
        return f"{self.model.removeprefix('openai/whisper-')}, {self.setting.name}"

    def row(self) -> str:
        """Returns a row of the table of ids and scores."""
        same = self._identical()
        scores = [abs(pair.ours.avg_logprob - pair.theirs["avg_logprob"]) for pair in same]
        no_speech = [abs(pair.ours.no_speech_prob - pair.theirs["no_speech_prob"]) for pair in self.pairs]
        n_languages = sum(pair.ours.language == pair.theirs["language"] for pair in self.pairs)
        cells = (len(self.pairs), len(same), f"{max(scores, default=0):.1e}", f"{max(no_speech):.1e}")
        return f"| {self.title} | {' | '.join(map(str, cells))} | {n_languages} |"

    def row_of_words(self) -> str:
        """Returns a row of the table of word times."""
        words = [both for pair in self._identical() for both in pair.words()]
        near = [both for both in words if not differ(*both)]
        distance = max((ours.distance_s(theirs) for ours, theirs in near), default=0)
        errors = max((abs(ours.probability - theirs.probability) for ours, theirs in words), default=0)
        cells = (len(words), len(words) - len(near), f"{distance:.3f} s", f"{errors:.1e}")
        return f"| {self.title} | {' | '.join(map(str, cells))} |"

    def differences(self) -> Iterator[str]:
        """Yields a line for each clip whose ids differ, and for each word whose times do."""
        for pair in self.pairs:
            if not pair.is_identical(self.tokenizer):
                yield f"{self.title}: {pair.name}: {self._texts(pair)}"
        for pair in self._identical():
            words = pair.words()
            if self.setting.words and not words and pair.ours.segments:
                yield f"{self.title}: {pair.name}: other words: {pair.theirs['words']}"
            for ours, theirs in words:
                if differ(ours, theirs):
                    yield f"{self.title}: {pair.name}: {ours}, openai/whisper: {theirs}"

    def _identical(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.is_identical(self.tokenizer)]

    def _texts(self, pair: Pair) -> str:
        ours, theirs = pair.ours, pair.theirs
        both = (ours.segments, pair.segments(self.tokenizer))
        texts = [[(s.start, s.stop, s.text) for s in segments] for segments in both]
        stopped = ", stopped at a repetition" if ours.repeated else ""
        return (
            f"{ours.avg_logprob:.4f} {ours.language} {texts[0]}{stopped}; openai/whisper: "
            f"{theirs['avg_logprob']:.4f} {theirs['language']} {texts[1]}, {len(theirs['ids'])} tokens"
        )


def differ(ours: TimedWord, theirs: TimedWord) -> bool:
    """Whether the times of a word differ by more than `TOLERANCE_S`."""
    return ours.distance_s(theirs) > TOLERANCE_S + ROUNDING_S


if __name__ == "__main__":
    main()
