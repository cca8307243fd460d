"""Word error rates, time and memory of each combination of `--dtype` and `--quantization` on this machine.

    python -m benchmarks.arithmetic --data ../shared/data
    python -m benchmarks.arithmetic --data ../shared/data --dtypes auto --quantizations a8 --beam_size 5

For `--data` see `benchmarks.accuracy`. Each combination runs the whole pipeline in a process of its own,
after one run that is not counted, as it compiles the programs. CPU seconds are those of all cores; the memory
is the largest resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy import Clip, read_clips, score, shown
from benchmarks.support.cpu import describe_machine
from benchmarks.support.processes import Measured, run_measured
from benchmarks.support.timing import markdown_head, markdown_row
from model.interface import DTYPES, QUANTIZATIONS, ModelOptions


def main() -> None:
    """Prints a table in Markdown, a row for each combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=ModelOptions.model)
    parser.add_argument("--sets", nargs="+", default=["english", "long", "languages"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES[1:])
    parser.add_argument("--quantizations", nargs="+", choices=QUANTIZATIONS, default=QUANTIZATIONS[1:])
    parser.add_argument("--beam_size", type=int, default=1)
    args = parser.parse_args()
    clips = read_clips(args.data, args.sets)
    print(f"{describe_machine()}\n")
    print(markdown_head(["dtype", "quantization", *args.sets, "seconds", "CPU seconds", "memory, MB"]))
    for dtype in args.dtypes:
        for quantization in args.quantizations:
            options = ["--dtype", dtype, "--quantization", quantization, "--beam_size", str(args.beam_size)]
            transcribed(args.model, clips, options)
            texts, measured = transcribed(args.model, clips, options)
            rates = (shown(score([clip for clip in clips if clip.group == one], texts)) for one in args.sets)
            costs = (f"{value:.0f}" for value in (measured.wall_s, measured.cpu_s, measured.tree_mb))
            print(markdown_row([dtype, quantization, *rates, *costs]), flush=True)


def transcribed(model: str, clips: Sequence[Clip], options: Sequence[str]) -> tuple[dict[str, str], Measured]:
    """Runs the pipeline; returns the texts by path, and what the run took."""
    with tempfile.TemporaryDirectory() as folder:
        manifest, out = Path(folder, "clips.txt"), Path(folder, "out")
        manifest.write_text("".join(f"{clip.path}\n" for clip in clips))
        command = [sys.executable, "-m", "pipelines.transcribe", "--input", str(manifest), "--model", model]
        measured = run_measured([*command, "--output", str(out), "--format", "jsonl", *options])
        rows = [
            json.loads(line)
            for part in sorted((out / "jsonl").glob("*.jsonl"))
            for line in part.read_text().splitlines()
        ]
    return {row["uri"]: row["text"] for row in rows}, measured


if __name__ == "__main__":
    main()
