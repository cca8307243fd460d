"""Invariance of transcripts under the size and the order of batches.

    pip install -e '.[local,bench]'
    python -m benchmarks.invariance --data ../shared/data

Runs the whole pipeline with word timestamps, first with batches of one window, then with other batch sizes
and in reversed order. Prints in how many recordings the other runs differ from the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from time import perf_counter

from benchmarks.accuracy import read_clips
from benchmarks.rivals.systems import Row, run_ours

Part = Sequence[object]
"""Part of a row that must be the same in all runs, item by item."""
RUNS: Mapping[str, tuple[int, bool]] = {
    "batches of 1": (1, False),
    "batches of 8": (8, False),
    "batches of 16": (16, False),
    "batches of 8, reversed order": (8, True),
}
"""Windows per batch, and whether the order of the recordings is reversed."""


def text_of(row: Row) -> Part:
    """Returns language and text of a row."""
    return [row["language"], *row["text"].split(" ")]


def segments_of(row: Row) -> Part:
    """Returns texts and times of segments, and how they were decoded."""
    names = ("start", "end", "text", "language", "temperature", "fallback")
    return [[segment[name] for name in names] for segment in row["segments"]]


def words_of(row: Row) -> Part:
    """Returns texts and times of words."""
    words = [word for segment in row["segments"] for word in segment["words"]]
    return [[word[name] for name in ("start", "end", "word")] for word in words]


PARTS: Mapping[str, Callable[[Row], Part]] = {"text": text_of, "segments": segments_of, "words": words_of}


def same_scores(left: Row, right: Row) -> Iterator[tuple[float, float]]:
    """Yields pairs of a segment's scores, if both rows have the same segments."""
    if segments_of(left) == segments_of(right):
        for pair in zip(left["segments"], right["segments"], strict=True):
            for name in ("avg_logprob", "no_speech_prob", "compression_ratio"):
                yield pair[0][name], pair[1][name]


def main() -> None:
    """Prints a table in Markdown, and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--sets", nargs="+", default=["english", "long", "languages"])
    args, options = parser.parse_known_args()
    paths = [clip.path for clip in read_clips(args.data, args.sets)]
    print(f"| run | recordings | other {' | other '.join(PARTS)} | largest difference of a score | seconds |")
    print("|---" * (len(PARTS) + 4) + "|")
    first: dict[str, Row] = {}
    differing = []
    for name, (batch_size, backwards) in RUNS.items():
        started = perf_counter()
        settings = ["--word_timestamps", "--batch_size", str(batch_size), *options]
        rows = rows_of(args.model, paths[::-1] if backwards else paths, settings)
        first = first or rows
        others = {
            part: [uri for uri in first if of(rows[uri]) != of(first[uri])] for part, of in PARTS.items()
        }
        counts = " | ".join(str(len(uris)) for uris in others.values())
        largest = max(abs(a - b) for uri in first for a, b in same_scores(rows[uri], first[uri]))
        seconds = perf_counter() - started
        print(f"| {name} | {len(rows)} | {counts} | {largest:.1e} | {seconds:.0f} |", flush=True)
        differing += [(name, part, first[uri], rows[uri]) for part, uris in others.items() for uri in uris]
    print()
    for name, part, before, after in differing:
        pairs = zip_longest(PARTS[part](before), PARTS[part](after))
        old, new = next((old, new) for old, new in pairs if old != new)
        print(f"- {name}, {part} of {Path(before['uri']).name}: {old} became {new}")


def rows_of(model: str, paths: list[Path], options: list[str]) -> dict[str, Row]:
    """Returns whisper-beam's rows by path."""
    return {row["uri"]: row for row in run_ours(model, paths, options).rows}


if __name__ == "__main__":
    main()
