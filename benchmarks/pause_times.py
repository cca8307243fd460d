"""Times of segments and words around silence that was cut out: short recordings joined with pauses.

    pip install -e '.[local,bench]'
    python -m benchmarks.pause_times --data ../shared/data --beam_size 1
    python -m benchmarks.pause_times --data ../shared/data --beam_size 1 --word_timestamps

Clips of a set, cut to their speech, are joined with digital silence, eight to a recording. Each clip is also
transcribed by itself; its words are searched for in the transcript of the recording. Counts the clips whose
first segment begins over a second before the clip does, and those whose last segment ends over a second after
it; the segments with speech of two clips; and the words that last over two seconds.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.support.clips import read_clip
from model.interface import SAMPLE_RATE, Samples
from model.voice_activity import make_detector
from pipelines.inference import Inference, Result
from transforms.windows.speech_intervals import PADDING_SAMPLES, speech_intervals

TOLERANCE_S = 1.0
LONG_WORD_S = 2.0
PADDING = SAMPLE_RATE // 10  # samples kept before and after the speech of a clip


class Placed(NamedTuple):
    """A clip in a recording, in seconds of the recording, and its words."""

    start_s: float
    end_s: float
    words: list[str]


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="crowd", help="folder of the data")
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--clips", type=int, default=56)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of the clips")
    parser.add_argument("--pauses", type=float, nargs="+", default=[1.5, 12.0], help="seconds")
    parser.add_argument("--beam_size", type=int, default=5)
    parser.add_argument("--word_timestamps", action="store_true")
    args = parser.parse_args()
    paths = sorted((args.data / args.set).iterdir())
    random.Random(args.seed).shuffle(paths)
    inference = Inference(args.model, beam_size=args.beam_size, language="en")
    spoken = [of_speech(read_clip(path)) for path in paths[: args.clips]]
    clips = [(samples, words_of(inference(samples, sampling_rate=SAMPLE_RATE)["text"])) for samples in spoken]
    columns = "clips", "not found", "begin early", "end late", "segments over two clips", "long words"
    print(f"| pause, s | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
    for pause_s in args.pauses:
        counts: Counter[str] = Counter(dict.fromkeys(columns, 0))
        for first in range(0, len(clips), 8):
            samples, placed = join(clips[first : first + 8], pause_s)
            times = "word" if args.word_timestamps else True
            result = inference(samples, sampling_rate=SAMPLE_RATE, return_timestamps=times)
            counts.update(of_clips(placed, result))
            counts.update(of_segments(placed, result))
        print(f"| {pause_s:g} | {' | '.join(str(counts[column]) for column in columns)} |", flush=True)


def of_speech(samples: Samples) -> Samples:
    """Returns a clip from its first speech to its last, with a tenth of a second on both sides."""
    detector = make_detector()
    probabilities = np.concatenate([detector(samples), detector.finish()])
    intervals = speech_intervals(probabilities, len(samples))
    if not intervals:
        return samples
    margin = PADDING_SAMPLES - PADDING
    return samples[intervals[0][0] + margin : intervals[-1][1] - margin]


def join(clips: Sequence[tuple[Samples, list[str]]], pause_s: float) -> tuple[Samples, list[Placed]]:
    """Joins clips with digital silence between them and at both ends."""
    silence = np.zeros(round(pause_s * SAMPLE_RATE), np.float32)
    blocks, placed, n_samples = [silence], [], len(silence)
    for samples, words in clips:
        placed.append(Placed(n_samples / SAMPLE_RATE, (n_samples + len(samples)) / SAMPLE_RATE, words))
        blocks += [samples, silence]
        n_samples += len(samples) + len(silence)
    return np.concatenate(blocks), placed


def words_of(text: str) -> list[str]:
    """Returns the words of an English text, in lower case and without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def of_clips(placed: Sequence[Placed], result: Result) -> Iterator[str]:
    """Yields the columns that count each clip."""
    segments = result["segments"]
    found = [(word, number) for number, one in enumerate(segments) for word in words_of(one["text"])]
    wanted = [(word, number) for number, clip in enumerate(placed) for word in clip.words]
    matcher = SequenceMatcher(a=[word for word, _ in wanted], b=[word for word, _ in found], autojunk=False)
    segments_of: dict[int, list[int]] = {}
    for block in matcher.get_matching_blocks():
        for n in range(block.size):
            segments_of.setdefault(wanted[block.a + n][1], []).append(found[block.b + n][1])
    for number, clip in enumerate(placed):
        yield "clips"
        if number not in segments_of:
            yield "not found"
            continue
        first, last = segments[segments_of[number][0]], segments[segments_of[number][-1]]
        if first["start"] < clip.start_s - TOLERANCE_S:
            yield "begin early"
        if last["end"] > clip.end_s + TOLERANCE_S:
            yield "end late"


def of_segments(placed: Sequence[Placed], result: Result) -> Iterator[str]:
    """Yields the columns that count each segment and word with a fault."""
    for segment in result["segments"]:
        shared = [min(clip.end_s, segment["end"]) - max(clip.start_s, segment["start"]) for clip in placed]
        if sum(seconds > 0.3 for seconds in shared) > 1:
            yield "segments over two clips"
        for word in segment.get("words") or ():
            if word["end"] - word["start"] > LONG_WORD_S:
                yield "long words"


if __name__ == "__main__":
    main()
