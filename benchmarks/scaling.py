"""Memory and time of the whole pipeline by length of one recording.

    python -m benchmarks.scaling --speech samples/en/joined.flac --minutes 10 60 180

The speech is repeated up to each length in a FLAC file, which is transcribed by one run in its own process.
Peak memory is the largest resident set of that process as reported by the operating system. "Outside the
model" is the run without loading and calling the model: imports, listing, decoding, Beam, merging and
writing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile as sf

from benchmarks.support.clips import SAMPLE_RATE, read_clip


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="a recording to repeat")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60, 180])
    parser.add_argument("--measure", type=float, help=argparse.SUPPRESS)  # a child process of this one
    args, options = parser.parse_known_args()
    if args.measure:
        print(json.dumps(measure(args.speech, args.measure, options)))
        return
    print("| minutes | wall, s | times real time | model, s | outside the model, s | % | peak memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for minutes in args.minutes:
        command = [sys.executable, "-m", "benchmarks.scaling", "--speech", str(args.speech)]
        command += ["--measure", str(minutes), *options]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        outside = row["wall_s"] - row["model_s"]
        cells = [f"{row['wall_s']:.1f}", f"{60 * minutes / row['wall_s']:.1f}", f"{row['model_s']:.1f}"]
        cells += [f"{outside:.1f}", f"{100 * outside / row['wall_s']:.1f}", f"{row['peak_mb']:.0f}"]
        print(f"| {minutes:g} | {' | '.join(cells)} |", flush=True)


def measure(speech: Path, minutes: float, options: list[str]) -> dict[str, float]:
    """Runs the pipeline once in a child process and measures it."""
    with tempfile.TemporaryDirectory() as folder:
        recording, output = Path(folder, "long.flac"), Path(folder, "out")
        write_repeated(speech, recording, minutes)
        command = [sys.executable, "-m", "pipelines.transcribe", "--input", str(recording)]
        started = perf_counter()
        subprocess.run([*command, "--output", str(output), *options], check=True, stdout=subprocess.DEVNULL)
        wall_s = perf_counter() - started
        stage_s = json.loads((output / "run.json").read_text())["stage_s"]
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "wall_s": wall_s,
        "model_s": stage_s["model"] + stage_s["compile"] + stage_s["load"],
        "peak_mb": peak_mb,
    }


def write_repeated(speech: Path, target: Path, minutes: float) -> None:
    """Writes a FLAC file of that length block by block, as it may not fit into memory."""
    clip = read_clip(speech)
    n_missing = round(minutes * 60 * SAMPLE_RATE)
    with sf.SoundFile(target, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        while n_missing > 0:
            block = np.asarray(clip[:n_missing])
            file.write(block)
            n_missing -= len(block)


if __name__ == "__main__":
    main()
