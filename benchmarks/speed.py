"""Speed of whisper-beam, faster-whisper and Hugging Face on this machine: the table of docs/performance.md.

    pip install -e '.[local,bench]'
    python -m benchmarks.speed
    python -m benchmarks.speed --torch_python ../torch/bin/python          # with Hugging Face's pipeline
    python -m benchmarks.speed --ours '' --ours '--dtype float32' --systems ours --models openai/whisper-base

All systems decode greedily, in English, at temperature 0 only, and otherwise with their defaults:
whisper-beam uses VAD and writes timestamps; batched faster-whisper uses VAD and writes none; sequential
faster-whisper uses no VAD and writes timestamps (it does not condition on earlier text, which is faster);
Hugging Face's chunked pipeline has neither. faster-whisper is int8. whisper-beam is compared with the
fastest of faster-whisper's batch sizes, and of Hugging Face's dtypes and batch sizes (two trials each on the
short recording).

The system "defaults" is faster-whisper as it comes, with nothing but the language given; compare it with
`--ours '--beam_size 5 --temperature 0,0.2,0.4,0.6,0.8,1'`.

Each run is a new process, and the systems alternate, so that a slower machine affects all of them.
whisper-beam runs once before, to fill its caches on disk. Two times are measured for every run:

- whole: from the start of the process to its end, imports and loading included;
- running: from the end of loading the model to the last row. A rival's program measures this time itself,
  including reading audio from disk and VAD; for whisper-beam it is `wall_s` of run.json without the seconds
  of loading, so that it includes the start of Beam.

The tables show medians, with the fastest and the slowest run in parentheses. Memory is the largest sum of
resident sets over all processes of a run; CPU seconds are those of all cores. Windows are those decoded.

Two more tables check accuracy and scaling: word error rates of whisper-beam compared with those of the
options in `--exact`, and time and memory for the joined recording repeated to each of `--hours`.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from benchmarks.rivals.huggingface import missing_packages, save_huggingface
from benchmarks.support.cpu import describe_machine, n_cores
from benchmarks.support.recordings import JOINED, LJ, RECORDINGS, TITLES, Recording, make_recording
from benchmarks.support.speed_checks import accuracy, lengths
from benchmarks.support.speed_systems import (
    BATCHED,
    BATCHED_PROCESSES,
    DEFAULTS,
    HUGGINGFACE,
    OURS,
    SEQUENTIAL,
    SYSTEMS,
    Run,
    System,
    faster_whisper,
    faster_whisper_defaults,
    faster_whisper_processes,
    huggingface,
    ours,
)
from benchmarks.support.timing import Spread, in_turn, markdown_head, markdown_row
from model.checkpoint import find_checkpoint

RIVALS, ACCURACY, LENGTHS = PARTS = ("rivals", "accuracy", "lengths")
MODELS = ("openai/whisper-base", "openai/whisper-tiny.en")
EXACT = "--quantization none --dtype float32"
BARS: Mapping[str, tuple[float, float]] = {
    BATCHED: (2, 3),
    SEQUENTIAL: (3, 5),
    HUGGINGFACE: (8, 15),
    DEFAULTS: (3, 5),
}
"""Required and desired speed of whisper-beam relative to each rival."""
TRIALS = [(dtype, size) for dtype in ("float32", "bfloat16") for size in (1, 8)]
"""Dtypes and batch sizes to try for Hugging Face's pipeline."""

Runs = Mapping[str, Sequence[Run]]
"""Runs by name of the system."""


def main() -> None:
    """Prints tables in Markdown, as they are measured."""
    args = parse()
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = {name: make_recording(name, args.data, folder) for name in RECORDINGS}
        for model in args.models:
            if RIVALS in args.parts:
                print_rivals(args, model, recordings)
            if ACCURACY in args.parts:
                print(f"\n## {model}, word error rates\n")
                print_lines(accuracy(model, args.ours, args.exact, args.data))
            if LENGTHS in args.parts:
                print(f"\n## {model}, by length\n")
                print_lines(lengths(model, args.ours[0], recordings[JOINED], args.hours, folder))


def print_rivals(args: argparse.Namespace, model: str, recordings: Mapping[str, Recording]) -> None:
    """Prints the speed of a model in each system, for each of the requested recordings."""
    with ExitStack() as stack:
        systems, absent = find_systems(args, model, recordings[LJ], stack)
        for name in args.recordings:
            print(f"\n## {model}, {TITLES[name]}: {recordings[name].duration_s:.0f} s\n", flush=True)
            runs = compare(systems, recordings[name], args.repeat)
            print_lines(table(systems, runs, recordings[name]))
            print_lines(["", *ratios(systems, runs), *absent])


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines as they come."""
    for line in lines:
        print(line, flush=True)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--recordings", nargs="+", choices=RECORDINGS, default=list(RECORDINGS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--ours", action="append", help="options of whisper-beam; repeat to compare several")
    parser.add_argument(
        "--batch_sizes", type=int, nargs="+", default=[8, 16, 24], help="batch sizes of faster-whisper"
    )
    parser.add_argument("--torch_python", type=Path, help="a Python with torch and transformers")
    parser.add_argument(
        "--exact", type=shlex.split, default=EXACT, help="options that accuracy is compared with"
    )
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 2, 4, 8])
    args = parser.parse_args()
    args.ours = [shlex.split(options) for options in args.ours or [""]]
    return args


def find_systems(
    args: argparse.Namespace, model: str, short: Recording, stack: ExitStack
) -> tuple[list[System], list[str]]:
    """Returns the requested systems that can be run, and a message for each that cannot.

    Args:
        args: the parsed command line.
        model: name of a checkpoint.
        short: a recording for trials of rivals' settings.
        stack: keeps the rivals' models on disk.
    """
    checkpoint = find_checkpoint(model)
    systems, absent = [], []
    folder = stack.enter_context(ctranslate2_folder(checkpoint))
    if OURS in args.systems:
        systems += [ours(model, options) for options in args.ours]
    if BATCHED in args.systems:
        systems += [faster_whisper(folder, size) for size in args.batch_sizes]
    if BATCHED_PROCESSES in args.systems:
        systems.append(faster_whisper_processes(folder, args.batch_sizes[0], n_cores()))
    if SEQUENTIAL in args.systems:
        systems.append(faster_whisper(folder, 0))
    if DEFAULTS in args.systems:
        systems.append(faster_whisper_defaults(folder))
    if HUGGINGFACE in args.systems:
        reason = why_no_huggingface(args.torch_python)
        if reason:
            absent.append(f"\nHugging Face's pipeline was not measured: {reason}.")
        else:
            theirs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            save_huggingface(checkpoint, theirs)
            systems.append(best_huggingface(args.torch_python, theirs, short))
    return systems, absent


def why_no_huggingface(python: Path | None) -> str:
    """Returns why a Python cannot run Hugging Face's pipeline; empty if it can."""
    if python is None:
        return "no --torch_python was given"
    missing = missing_packages(python)
    return f"{python} lacks {', '.join(missing)}" if missing else ""


def best_huggingface(python: Path, folder: Path, short: Recording) -> System:
    """Returns the fastest of `TRIALS` over a short recording, by the better of two runs."""
    tried = [huggingface(python, folder, dtype, size) for dtype, size in TRIALS]
    runs = in_turn([partial(system.run, short) for system in tried], 2)
    seconds = {system.name: running_s(own).fastest for system, own in zip(tried, runs, strict=True)}
    for name, taken in seconds.items():
        print(f"{name}: {taken:.1f} s on trial", file=sys.stderr, flush=True)
    return min(tried, key=lambda system: seconds[system.name])


def compare(systems: Sequence[System], recording: Recording, repeat: int) -> Runs:
    """Runs all systems alternately, `repeat` times each."""
    for system in systems:
        if system.kind == OURS:
            system.run(recording)
    runs = [partial(_run_and_report, system, recording) for system in systems]
    return dict(zip([system.name for system in systems], in_turn(runs, repeat), strict=True))


def _run_and_report(system: System, recording: Recording) -> Run:
    run = system.run(recording)
    wall_s = run.measured.wall_s
    print(f"{system.name}: {wall_s:.1f} s, running {run.transcribe_s:.1f} s", file=sys.stderr, flush=True)
    return run


def table(systems: Sequence[System], runs: Runs, recording: Recording) -> Iterator[str]:
    """Yields a table of the measurements of each system, in Markdown."""
    columns = ["system", "whole, s", "running, s", "times real time, whole", "running"]
    columns += ["CPU, s", "memory, MB", "processes", "windows", "words", "outside the model, s"]
    yield markdown_head(columns)
    for system in systems:
        own = runs[system.name]
        whole, running = whole_s(own), running_s(own)
        yield markdown_row(
            [
                system.name,
                whole,
                running,
                f"{recording.duration_s / whole.median:.1f}",
                f"{recording.duration_s / running.median:.1f}",
                f"{statistics.median(run.measured.cpu_s for run in own):.1f}",
                f"{memory_mb(own):.0f}",
                max(run.measured.processes for run in own),
                own[0].n_windows,
                own[0].n_words,
                outside(own),
            ]
        )


def ratios(systems: Sequence[System], runs: Runs) -> Iterator[str]:
    """Yields a table of whisper-beam's speed and memory relative to each rival at its best."""
    mine = [system for system in systems if system.kind == OURS]
    kinds = dict.fromkeys(system.kind for system in systems if system.kind != OURS)
    yield markdown_head(["ours", "against", "whole", "running", "bar", "aim", "memory"])
    for one in mine:
        for kind in kinds:
            rival = fastest([system for system in systems if system.kind == kind], runs)
            own, theirs = runs[one.name], runs[rival.name]
            times = [whole_s(theirs).median / whole_s(own).median]
            times.append(running_s(theirs).median / running_s(own).median)
            bar, aim = BARS.get(kind, ("", ""))
            share = memory_mb(own) / memory_mb(theirs)
            cells = [one.name, rival.name, *(f"{times_as_fast:.2f}" for times_as_fast in times), bar, aim]
            yield markdown_row([*cells, f"{share:.2f}"])


def fastest(systems: Sequence[System], runs: Runs) -> System:
    """Returns the system with the lowest median running time."""
    return min(systems, key=lambda system: running_s(runs[system.name]).median)


def whole_s(runs: Sequence[Run]) -> Spread:
    """Returns the spread of seconds from the start of the process to its end."""
    return Spread.of(run.measured.wall_s for run in runs)


def running_s(runs: Sequence[Run]) -> Spread:
    """Returns the spread of seconds from the end of loading the model to the last row."""
    return Spread.of(run.transcribe_s for run in runs)


def memory_mb(runs: Sequence[Run]) -> float:
    """Returns the largest peak memory of the runs."""
    return max(run.measured.tree_mb for run in runs)


def outside(runs: Sequence[Run]) -> str:
    """Formats the median seconds of whisper-beam outside the model, and their ratio to the model's time."""
    spent = [(run.outside_s, run.transcribe_s) for run in runs if run.outside_s is not None]
    if not spent:
        return ""
    seconds = statistics.median(outside_s for outside_s, _ in spent)
    share = statistics.median(outside_s / (running - outside_s) for outside_s, running in spent)
    return f"{seconds:.2f} ({share:.1%})"


if __name__ == "__main__":
    main()
