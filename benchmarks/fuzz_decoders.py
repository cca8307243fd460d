"""Damages small files of 38 formats at random, and reads them, for as long as it is told.

    python -m benchmarks.fuzz_decoders --minutes 10 --seed 0

Each file must be decoded to finite samples or be refused as an `AudioError`, within 5 s. Each runs in a
process that is started once for many files, so that a crash or a hang of a decoder is seen and counted; the
file is then kept in `--keep`. Prints how many there were, what became of them, and the slowest. Ends with 1
if any did what none may.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from time import perf_counter

from tests.transforms.fuzzing import MOST_S, changed, outcome, random_change, small_files


class Reader:
    """A process that reads files, and is replaced when it dies or hangs."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._files, files = context.Pipe()
        self._process = context.Process(target=_read_all, args=(files,), daemon=True)
        self._process.start()
        files.close()
        self._files.recv()  # it has started

    def outcome(self, data: bytes) -> str:
        """As `fuzzing.outcome`, or `crash`, `hang`, or an exception that must not be, with its traceback."""
        self._files.send_bytes(data)
        if not self._files.poll(MOST_S):
            self.close()
            return "hang"
        try:
            return str(self._files.recv())
        except EOFError:
            self.close()
            return "crash"

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.join()


def _read_all(files: Connection) -> None:
    files.send("started")
    while True:
        try:
            data = files.recv_bytes()
        except EOFError:
            return
        try:
            files.send(outcome(data))
        except Exception:  # whatever it is, it is what this program looks for
            files.send(f"exception\n{traceback.format_exc()}")


def damaged_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Files without end, each with the name of what it was."""
    random, files = Random(seed), small_files()
    names = sorted(files)
    while True:
        name = random.choice(names)
        yield name, changed(files[name], [random_change(random) for _ in range(random.randint(1, 5))])


def main() -> int:
    """Runs until the time is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    given = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest, findings, reader = (0.0, ""), 0, Reader()
    until = perf_counter() + 60 * given.minutes
    for number, (name, data) in enumerate(damaged_files(given.seed)):
        started = perf_counter()
        if started > until:
            break
        became = reader.outcome(data)
        slowest = max(slowest, (perf_counter() - started, name))
        outcomes[became.partition("\n")[0]] += 1
        if became.startswith(("crash", "hang", "exception")):
            findings += 1
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{given.seed}-{number}").write_bytes(data)
            print(f"{name}, number {number}: {became}", flush=True)
            if not became.startswith("exception"):
                reader = Reader()
    reader.close()
    print(f"{outcomes.total()} files: {dict(outcomes.most_common())}")
    print(f"the slowest took {slowest[0]:.2f} s: {slowest[1]}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
