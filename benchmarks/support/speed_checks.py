"""Checks of `benchmarks.speed` beside speed: accuracy, and the growth of time and memory with length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.accuracy import read_clips, score, shown
from benchmarks.rivals.systems import run_ours
from benchmarks.scaling import write_repeated
from benchmarks.support.recordings import Recording
from benchmarks.support.speed_systems import GREEDY, ours
from benchmarks.support.timing import markdown_head, markdown_row

ENGLISH = ("english", "long")
"""Sets of the manifest with English recordings only."""


def accuracy(
    model: str, variants: Sequence[Sequence[str]], exact: Sequence[str], data: Path
) -> Iterator[str]:
    """Measures word error rates of variants of whisper-beam over the English sets, against an exact variant.

    Args:
        model: name of a checkpoint.
        variants: options of whisper-beam.
        exact: options of the variant that the others are compared with.
        data: folder with `manifest.jsonl`.

    Yields:
        Lines in Markdown.
    """
    clips = read_clips(data, ENGLISH)
    paths = [clip.path for clip in clips]
    columns = ["system", *(f"{group}, WER %" for group in ENGLISH), "all, WER %", "points above"]
    yield markdown_head(columns)
    exact_rate = None
    for options in (exact, *variants):
        texts = run_ours(model, paths, [*GREEDY, *options]).texts
        groups = [shown(score([clip for clip in clips if clip.group == group], texts)) for group in ENGLISH]
        total = score(clips, texts)
        rate = 100 * total.word_errors / total.n_words
        exact_rate = rate if exact_rate is None else exact_rate
        name = " ".join(["whisper-beam", *options])
        yield markdown_row([name, *groups, shown(total), f"{rate - exact_rate:+.2f}"])


def lengths(
    model: str, options: Sequence[str], speech: Recording, hours: Sequence[float], folder: Path
) -> Iterator[str]:
    """Measures time and memory of whisper-beam over a recording repeated to each length, once.

    Args:
        model: name of a checkpoint.
        options: options of whisper-beam.
        speech: recording to repeat.
        hours: lengths in hours.
        folder: folder for the recordings, which are deleted afterwards.

    Yields:
        Lines in Markdown; seconds per hour of audio are compared with those of the first length.
    """
    columns = ["hours", "whole, s", "running, s", "running, s an hour", "of the first", "memory, MB"]
    yield markdown_head([*columns, "largest process, MB"])
    system, first = ours(model, options), None
    for length in hours:
        path = folder / "repeated.flac"
        write_repeated(speech.path, path, 60 * length)
        run = system.run(Recording(path, 3600 * length))
        path.unlink()
        an_hour = run.transcribe_s / length
        first = first or an_hour
        cells = [f"{length:g}", f"{run.measured.wall_s:.1f}", f"{run.transcribe_s:.1f}", f"{an_hour:.1f}"]
        memory = [f"{run.measured.tree_mb:.0f}", f"{run.measured.largest_mb:.0f}"]
        yield markdown_row([*cells, f"{an_hour / first:.1%}", *memory])
