"""The server under load: the figures of docs/server.md.

    pip install -e '.[local,bench,serve]'
    python -m benchmarks.server_load
    python -m benchmarks.server_load --parts throughput latency --options '--beam_size 1'
    python -m benchmarks.server_load --parts long --hours 10 --serve_options '--max_upload_mb 2000'

Each part starts `whisper-beam serve` as a process of its own, in which the model is the only load of the
machine. Bars are in parentheses in the head of each table. What is compared alternates, `--repeat` times; the
tables show medians, with the fastest and the slowest in parentheses.

- throughput: English clips of about 10 s from `--clients` clients, from one client at a time, and in the
  pipeline (`whisper-beam transcribe`, from the end of loading and compiling to the last row, the start of
  Beam included); the fill of batches while all clients send.
- latency: one clip at a time, and its windows in a bare call of the model with the same batch size; the first
  clip after /ready relative to those after it (each time in a new process).
- fairness: the 95th percentile of a clip, alone and beside the upload of a 2-hour recording.
- health: /health every 20 ms while nothing happens, while all clients send, and beside uploads of 1 GB.
- start: seconds to /health and to /ready, and whether Beam was imported (`-X importtime`).
- leaks: memory, descriptors, threads and temporary files after 100 requests and after `--requests`, of which
  5 % are broken and 5 % are cancelled.
- long: peak memory for a recording of `--hours`, a tenth of it speech.
- cancel: 100 cancelled requests: seconds until the upload's file is closed, and what is left.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.support.cpu import describe_machine
from benchmarks.support.recordings import Recording
from benchmarks.support.server_process import ServerCommand
from benchmarks.support.server_resources import leaks, long_file, make_long
from benchmarks.support.server_speed import latency, throughput
from benchmarks.support.server_waits import beside_upload, cancel, health, start

SHORTEST_S, LONGEST_S = 8.5, 11.5
"""Durations of the clips of about 10 s."""
N_CANCELLED = 100
_BESIDE_HOURS = 2.0
_LONG_SPEECH = 0.1

Part = Callable[[argparse.Namespace, ServerCommand, Path], Iterator[str]]
"""A part: from the arguments, the command and a folder to lines in Markdown."""


def main() -> None:
    """Prints tables in Markdown, as they are measured."""
    args = parse()
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            for options in args.options if part in PARTS_BY_OPTIONS else args.options[:1]:
                print(f"\n## {part}, {args.model}\n", flush=True)
                command = ServerCommand(args.model, options, args.serve_options)
                for line in PARTS[part](args, command, Path(folder)):
                    print(line, flush=True)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--options", action="append", help="options of decoding; repeat to measure several, greedy and beam 5"
    )
    parser.add_argument(
        "--serve_options", type=shlex.split, default=[], help="options that only the server has"
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=10)
    args = parser.parse_args()
    args.options = [shlex.split(words) for words in args.options or ["--beam_size 1", "--beam_size 5"]]
    return args


def find_clips(data: Path, n: int) -> list[Recording]:
    """Returns at most `n` English clips of about 10 s.

    Args:
        data: folder with `manifest.jsonl`.
        n: number of clips.
    """
    entries = map(json.loads, (data / "manifest.jsonl").read_text("utf-8").splitlines())
    clips = [
        Recording(data / entry["path"], entry["duration_s"])
        for entry in entries
        if entry["language"] == "en" and SHORTEST_S <= entry["duration_s"] <= LONGEST_S
    ]
    return clips[:n]


def _clips(args: argparse.Namespace) -> list[Recording]:
    return find_clips(args.data, args.clips)


def _clip(args: argparse.Namespace) -> Recording:
    """Returns the clip whose duration is nearest to 10 s."""
    return min(_clips(args), key=lambda clip: abs(clip.duration_s - 10))


def _chapter(args: argparse.Namespace) -> Path:
    return Path(args.data, "long", "lj001.flac")


def _throughput(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    return throughput(command, _clips(args), args.clients, args.repeat)


def _latency(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    return latency(command, _clip(args), args.repeat)


def _fairness(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    long = make_long(_chapter(args), _BESIDE_HOURS, 1.0, folder / "beside.flac")
    return beside_upload(command, _clip(args), long, args.repeat)


def _health(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    return health(command, _clips(args), args.clients)


def _start(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    return start(command, args.repeat)


def _leaks(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    return leaks(command, _clips(args), args.clients, args.requests)


def _long(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    recording = make_long(_chapter(args), args.hours, _LONG_SPEECH, folder / "long.flac")
    return long_file(command, _clip(args), recording)


def _cancel(args: argparse.Namespace, command: ServerCommand, folder: Path) -> Iterator[str]:
    long = make_long(_chapter(args), 0.2, 1.0, folder / "cancelled.flac")
    return cancel(command, long.path, N_CANCELLED)


PARTS: Mapping[str, Part] = {
    "throughput": _throughput,
    "latency": _latency,
    "fairness": _fairness,
    "health": _health,
    "start": _start,
    "leaks": _leaks,
    "long": _long,
    "cancel": _cancel,
}
PARTS_BY_OPTIONS = ("throughput", "latency")
"""Parts that are measured with each of `--options`; the others are with the first."""


if __name__ == "__main__":
    main()
