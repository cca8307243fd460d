"""Time of a run that was killed half way and started again, relative to an uninterrupted one.

    python -m benchmarks.resume --input ../shared/data/crowd --n_clips 120 -- --beam_size 1

Each round runs the same command three times, in processes of their own: to its end, which takes T; into
another folder, killed (SIGKILL) after T/2; and the killed one again, to its end. A last command in the
finished folder shows what a run without work costs. Without loss the third would take T/2 and a start. The
rows of the resumed run are compared with those of the uninterrupted one.

A first run fills the caches on disk and is not counted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.support.timing import markdown_head, markdown_row

COLUMNS = (
    *("uninterrupted, s", "killed after, s", "committed by then", "run again, s", "ratio"),
    *("finished run again, s", "started twice"),
)


@dataclass(frozen=True)
class Round:
    """Measurements of one round.

    Attributes:
        whole_s: seconds of the uninterrupted run.
        killed_s: seconds after which another one was killed.
        committed: share of the recordings that were committed by then.
        rerun_s: seconds of the same command afterwards.
        finished_s: seconds of the same command in a finished folder.
        repeated: recordings that were started before the kill and not committed.
    """

    whole_s: float
    killed_s: float
    committed: float
    rerun_s: float
    finished_s: float
    repeated: int

    @property
    def ratio(self) -> float:
        """Seconds of the run after the kill, relative to the uninterrupted one."""
        return self.rerun_s / self.whole_s


def command(clips: Sequence[Path], out: Path, options: Sequence[str]) -> list[str]:
    """Returns the command that transcribes clips into a folder."""
    words = [sys.executable, "-m", "pipelines.main", "transcribe", *map(str, clips)]
    return [*words, "-o", str(out), *options]


def seconds_of(words: Sequence[str], kill_after_s: float | None = None) -> float:
    """Returns the seconds that a command takes, or until it was killed.

    Raises:
        subprocess.CalledProcessError: the command failed.
        RuntimeError: it ended before it was to be killed.
    """
    started = perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        exit_code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return perf_counter() - started
    if exit_code:
        raise subprocess.CalledProcessError(exit_code, words)
    if kill_after_s is not None:
        raise RuntimeError(f"the run ended before {kill_after_s:.1f} s")
    return perf_counter() - started


def log_counts(out: Path) -> tuple[int, int]:
    """Returns how many spans the commit log of a run has as finished, and as started and not finished."""
    log = b"".join(path.read_bytes() for path in (out / ".whisper-beam/commits").glob("*.log"))
    finished = log.count(b'{"done":')
    return finished, log.count(b'{"begun":') - finished


def rows_of(out: Path) -> bytes:
    """Returns the rows of a finished run, as JSON lines."""
    return b"".join(path.read_bytes() for path in sorted((out / "jsonl").glob("*.jsonl")))


def measure(clips: Sequence[Path], options: Sequence[str], folder: Path) -> Round:
    """Measures one round in an empty folder.

    Raises:
        RuntimeError: the resumed run wrote other rows than the uninterrupted one.
    """
    whole, resumed = (command(clips, folder / name, options) for name in ("whole", "resumed"))
    whole_s = seconds_of(whole)
    killed_s = seconds_of(resumed, kill_after_s=whole_s / 2)
    committed, repeated = log_counts(folder / "resumed")
    rerun_s = seconds_of(resumed)
    if rows_of(folder / "resumed") != rows_of(folder / "whole"):
        raise RuntimeError("the resumed run wrote other rows than the uninterrupted one")
    finished_s = seconds_of(resumed)
    return Round(whole_s, killed_s, committed / len(clips), rerun_s, finished_s, repeated)


def cells(one: Round) -> list[str]:
    """Returns a row of the table."""
    return [
        f"{one.whole_s:.1f}",
        f"{one.killed_s:.1f}",
        f"{one.committed:.0%}",
        f"{one.rerun_s:.1f}",
        f"{one.ratio:.0%}",
        f"{one.finished_s:.1f}",
        str(one.repeated),
    ]


def main() -> None:
    """Prints a table in Markdown, a line as each round is measured, and the median ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, default=Path("../shared/data/crowd"))
    parser.add_argument("--n_clips", type=int, default=120)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("options", nargs="*", help="options of `whisper-beam transcribe`, behind --")
    args = parser.parse_args()
    clips = sorted(path for path in args.input.iterdir() if path.is_file())[: args.n_clips]
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds_of(command(clips[:8], folder / "first", args.options))
        print(markdown_head(COLUMNS), flush=True)
        for number in range(args.repeat):
            place = folder / str(number)
            rounds.append(measure(clips, args.options, place))
            shutil.rmtree(place)
            print(markdown_row(cells(rounds[-1])), flush=True)
    print(f"\nmedian ratio: {statistics.median(one.ratio for one in rounds):.0%}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
