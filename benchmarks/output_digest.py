"""Digests of the files that runs write, to compare two versions of the code byte by byte.

    python -m benchmarks.output_digest --input ../shared/data samples > before.txt
    python -m benchmarks.output_digest --input ../shared/data samples > after.txt; diff before.txt after.txt

Runs the command line once for each set of options below, in a process of its own, and prints the SHA-256 of
each file of rows, failures and subtitles. Names are without the folder of their format, so that versions with
other folders can be compared. Rows contain absolute paths of recordings: use the same ones.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

FORMATS = "parquet,jsonl,srt,vtt,tsv,txt"
TINY = "openai/whisper-tiny.en"
OPTIONS = {
    "default": [],
    "float32": ["--dtype", "float32", "--beam_size", "1"],
    "words": ["--word_timestamps", "--redecode_boundaries", "0.2", "--hotwords", "Gutenberg"],
    "translate": ["--task", "translate", "--language", "auto-per-window", "--beam_size", "1"],
    "grid": [
        "--model",
        TINY,
        "--windows",
        "grid",
        "--word_timestamps",
        "--beam_size",
        "2",
    ],
    "shards": ["--model", TINY, "--num_shards", "3", "--max_span_s", "30", "--no-vad"],
}
SUFFIXES = frozenset(f".{name}" for name in FORMATS.split(","))


def main() -> None:
    """Prints `SHA-256  options/file` for each file of each run, sorted by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, help="as for `whisper-beam transcribe`")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        for name in args.options:
            output = Path(folder, name)
            run(args.input, output, OPTIONS[name])
            for digest, file in sorted(digests(output), key=lambda pair: pair[1]):
                print(f"{digest}  {name}/{file}", flush=True)


def run(inputs: list[str], output: Path, options: list[str]) -> None:
    """Runs the command line.

    Raises:
        RuntimeError: the run failed; failures of single recordings are part of the comparison.
    """
    command = [sys.executable, "-m", "pipelines.transcribe", "--input", *inputs, "--output", str(output)]
    done = subprocess.run([*command, "--format", FORMATS, *options], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 2):
        raise RuntimeError(f"the run with {options} ended with exit code {done.returncode}")


def digests(output: Path) -> Iterator[tuple[str, str]]:
    """The digest of each file of rows, failures and subtitles, and its name without the format's folder."""
    for path in output.rglob("*"):
        relative = path.relative_to(output)
        if path.suffix in SUFFIXES and not relative.parts[0].startswith("."):
            name = f"failures/{path.name}" if relative.parts[0] == "failures" else path.name
            yield hashlib.sha256(path.read_bytes()).hexdigest(), name


if __name__ == "__main__":
    main()
