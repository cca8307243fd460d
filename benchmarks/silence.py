"""Hallucinated text of several systems on half an hour of audio without speech.

    pip install -e '.[local,bench]'
    python -m benchmarks.silence
    python -m benchmarks.silence --openai_python ../openai/bin/python

`benchmarks/rivals/openai_whisper.py` says how to make the Python of `--openai_python`.

The audio is a folder of WAV files with silence, noise, hum, tones, telephones, sirens, clicks, applause and
music (`benchmarks/support/wordless_audio.py`). Each system runs in its own process, one after the other, on
the same weights: whisper-beam's whole pipeline with its defaults and with safeguards disabled, and
faster-whisper and openai/whisper with their defaults. Prints the number of words in total and by kind of
sound, and each text, those of whisper-beam with scores. A window is decoded at a time and has at most 30 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import soundfile as sf

from benchmarks.rivals.openai_whisper import run_openai_whisper
from benchmarks.rivals.systems import Row, Transcripts, run_faster_whisper, run_ours
from benchmarks.support.wordless_audio import write_recordings
from transforms.core.text import split_words

OURS: Mapping[str, list[str]] = {
    "whisper-beam": [],
    "whisper-beam --no-vad": ["--no-vad"],
    "whisper-beam --no-vad --hallucination_filters none --temperature 0": [
        *["--no-vad", "--hallucination_filters", "none", "--temperature", "0"]
    ],
}
FASTER: Mapping[str, dict[str, bool]] = {
    "faster-whisper": {"batched": False},
    "faster-whisper, vad_filter": {"batched": False, "vad_filter": True},
    "faster-whisper batched": {"batched": True},
}
OPENAI = "openai/whisper"
MAX_SHOWN = 100  # characters of a text
SCORES = ("no_speech_prob", "avg_logprob", "compression_ratio", "temperature")


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="seed of the audio")
    parser.add_argument(
        "--compute_type", default="int8", help="compute type of faster-whisper: int8, float32"
    )
    parser.add_argument("--systems", nargs="+", default=[*OURS, *FASTER], metavar="SYSTEM")
    parser.add_argument(
        "--openai_python", type=Path, help=f"a Python with {OPENAI}, which is then compared too"
    )
    parser.add_argument("--rival", nargs=2, help=argparse.SUPPRESS)  # a child process of this one
    args = parser.parse_args()
    if args.rival:
        system, folder = args.rival
        paths = sorted(Path(folder).iterdir())
        print(json.dumps(asdict(run_faster_whisper(args.model, paths, args.compute_type, **FASTER[system]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        kinds = write_recordings(Path(folder), args.minutes, args.seed)
        print("| system | words | recordings with text | windows decoded | seconds |\n|---|---|---|---|---|")
        written = {}
        for system in [*args.systems, *([OPENAI] if args.openai_python else [])]:
            started = perf_counter()
            written[system] = run(system, args, list(kinds))
            print(f"| {system} | {totals(written[system])} | {perf_counter() - started:.0f} |", flush=True)
        print_kinds(kinds, written)
    print_texts(written)


def run(system: str, args: argparse.Namespace, paths: list[Path]) -> Transcripts:
    """Transcribes the files with a system."""
    if system == OPENAI:
        return run_openai_whisper(args.openai_python, args.model, paths)
    if system in OURS:
        return run_ours(args.model, paths, OURS[system])
    command = [sys.executable, "-m", "benchmarks.silence", "--model", args.model]
    command += ["--compute_type", args.compute_type, "--rival", system, str(paths[0].parent)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Transcripts(**json.loads(done.stdout))


def totals(transcripts: Transcripts) -> str:
    """Returns the cells of a row: words, recordings with text, windows."""
    n_with_text = sum(bool(row["text"]) for row in transcripts.rows)
    of_all = f"{n_with_text} of {len(transcripts.rows)}"
    return f"{sum(map(n_words, transcripts.rows))} | {of_all} | {transcripts.n_windows}"


def n_words(row: Row) -> int:
    """Returns the number of words of a recording; of characters for languages without spaces."""
    return len(split_words(row["text"], row["language"] or ""))


def print_kinds(kinds: Mapping[Path, str], written: Mapping[str, Transcripts]) -> None:
    """Prints a table of the words of each system by kind of sound."""
    print(f"\n| sound | minutes | {' | '.join(written)} |\n{'|---' * (len(written) + 2)}|")
    for kind in dict.fromkeys(kinds.values()):
        paths = {str(path) for path in kinds if kinds[path] == kind}
        counts = [sum(n_words(row) for row in t.rows if row["uri"] in paths) for t in written.values()]
        minutes = sum(sf.info(path).duration for path in paths) / 60
        print(f"| {kind} | {minutes:.1f} | {' | '.join(map(str, counts))} |")


def print_texts(written: Mapping[str, Transcripts]) -> None:
    """Prints each text, and the scores of whisper-beam's segments."""
    print()
    for system, transcripts in written.items():
        for row in sorted(transcripts.rows, key=lambda row: str(row["uri"])):
            if row["text"]:
                text = textwrap.shorten(row["text"], MAX_SHOWN, placeholder=" ...")
                print(f"- {system}, {Path(row['uri']).name}, {row['language']}: {text!r}")
                for scores in dict.fromkeys(map(scores_of, row.get("segments", ()))):
                    print(f"  - {scores}")


def scores_of(segment: Row) -> str:
    """Formats the scores that the safeguards use; they are the same for all segments of a window."""
    shown = (f"{name} {segment[name]:.2f}" for name in SCORES)
    return f"{', '.join(shown)}, fallback {segment['fallback']}"


if __name__ == "__main__":
    main()
