"""Word error rates and speed compared with faster-whisper, on the same weights and audio.

    pip install -e '.[local,bench]'
    python -m benchmarks.accuracy --data ../shared/data --model openai/whisper-base

`--data` is a folder with `manifest.jsonl` (path, language, text, duration_s), where the first component of a
path names the evaluation set. Each system runs in its own process, one after the other; whisper-beam runs its
whole pipeline from files to rows. Text is normalised as in the Whisper paper (appendix C); languages without
spaces between words (Japanese) are scored by character.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.rivals.systems import run_faster_whisper, run_ours
from pipelines.evaluation.error_rates import (
    ErrorCounts,
    align,
    count_errors,
    counts_characters,
    normalised_words,
)

BATCHED = "faster-whisper batched"
OURS = "whisper-beam"
SEQUENTIAL = "faster-whisper"


@dataclass(frozen=True)
class Clip:
    """A recording and its reference transcript."""

    path: Path
    group: str
    language: str
    text: str
    duration_s: float


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--sets", nargs="+", default=["english", "long", "languages"])
    parser.add_argument("--compute_type", default="int8", help="of faster-whisper: int8, float32")
    parser.add_argument("--beam_size", type=int, default=5, help="of all systems")
    parser.add_argument("--systems", nargs="+", default=[OURS, SEQUENTIAL, BATCHED])
    parser.add_argument("--temperature_0", action="store_true", help="faster-whisper without its fallback")
    parser.add_argument("--rival", help=argparse.SUPPRESS)  # a child process of this one
    args, others = parser.parse_known_args()
    ours = ["--beam_size", str(args.beam_size), *others]
    clips = read_clips(args.data, args.sets)
    if args.rival:
        print(json.dumps(run_rival(args, clips)))
        return
    print(f"| system | {' | '.join(args.sets)} | seconds | times real time |")
    print("|---" * (len(args.sets) + 3) + "|")
    seconds_of = {}
    for system in args.systems:
        started = perf_counter()
        paths = [clip.path for clip in clips]
        texts = run_ours(args.model, paths, ours).texts if system == OURS else call_rival(system)
        seconds = seconds_of[system] = perf_counter() - started
        scores = [shown(score([c for c in clips if c.group == group], texts)) for group in args.sets]
        speed = sum(clip.duration_s for clip in clips) / seconds
        print(f"| {system} | {' | '.join(scores)} | {seconds:.0f} | {speed:.1f} |", flush=True)
    for rival in seconds_of.keys() - {OURS} if OURS in seconds_of else ():
        print(f"\n{OURS} is {seconds_of[rival] / seconds_of[OURS]:.2f} times as fast as {rival}.")


def read_clips(data: Path, groups: Iterable[str]) -> list[Clip]:
    """Returns the recordings of these sets that have a reference."""
    rows = map(json.loads, (data / "manifest.jsonl").read_text().splitlines())
    return [
        Clip(
            (data / row["path"]).absolute(),
            row["path"].split("/")[0],
            row["language"],
            row["text"],
            row["duration_s"],
        )
        for row in rows
        if row["text"] and row["path"].split("/")[0] in groups
    ]


def call_rival(system: str) -> dict[str, str]:
    """Returns texts by path, from faster-whisper in its own process."""
    command = [sys.executable, "-m", "benchmarks.accuracy", *sys.argv[1:], "--rival", system]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    texts: dict[str, str] = json.loads(done.stdout)
    return texts


def run_rival(args: argparse.Namespace, clips: Iterable[Clip]) -> dict[str, str]:
    """Returns texts by path, from faster-whisper with its defaults except for the beam size."""
    paths, batched = [clip.path for clip in clips], args.rival == BATCHED
    options: dict[str, Any] = {"beam_size": args.beam_size}
    if args.temperature_0:
        options |= {"temperature": 0.0, "condition_on_previous_text": False}
    return run_faster_whisper(args.model, paths, args.compute_type, batched=batched, **options).texts


def score(clips: Iterable[Clip], texts: Mapping[str, str]) -> ErrorCounts:
    """Counts errors over all words of these recordings; without a text, all words count as deleted."""
    total = ErrorCounts()
    for clip in clips:
        reference = normalised_words(clip.text, clip.language)
        hypothesis = normalised_words(texts.get(str(clip.path), ""), clip.language)
        total += count_errors(align(reference, hypothesis), counts_characters(clip.language))
    return total


def shown(counts: ErrorCounts) -> str:
    """Formats the word error rate in %, and substitutions, deletions and insertions."""
    errors = f"({counts.substitutions}, {counts.deletions}, {counts.insertions})"
    return f"{100 * counts.word_errors / counts.n_words:.2f} {errors}"


if __name__ == "__main__":
    main()
