"""Reads damaged files for as long as it is told, each in a process with bounds whose death would be seen."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from time import perf_counter

from tests.support.fuzzing import MOST_S, changed, random_change

MOST_BYTES = 1 << 30
"""Of address space that a process may take beyond what it has once it has read every file undamaged."""

Outcome = Callable[[str, bytes], str]
"""What became of a file, by its name and content, in a word; raises what must not be raised."""


class Reader:
    """A process that reads files, and is replaced when it dies or hangs.

    Args:
        outcome: of a module, as another process calls it.
        files: undamaged, by name: each is read once, so that what is imported late does not count.
    """

    def __init__(self, outcome: Outcome, files: Mapping[str, bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self._files, end = context.Pipe()
        self._process = context.Process(target=_read_all, args=(end, outcome, files), daemon=True)
        self._process.start()
        end.close()
        self._files.recv()  # it has started

    def outcome(self, name: str, data: bytes) -> str:
        """As `Outcome`, or `crash`, `hang`, or `exception` with the traceback of one that must not be."""
        self._files.send((name, data))
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


def _read_all(files: Connection, outcome: Outcome, undamaged: Mapping[str, bytes]) -> None:
    for name, data in undamaged.items():
        outcome(name, data)
    bound = _address_space() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    files.send("started")
    while True:
        try:
            name, data = files.recv()
        except EOFError:
            return
        try:
            files.send(outcome(name, data))
        except BaseException:  # whatever it is, a panic of Rust too: it is what this program looks for
            files.send(f"exception\n{traceback.format_exc()}")


def _address_space() -> int:
    """Bytes of it that this process has; Linux alone tells."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def damaged_files(files: Mapping[str, bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """Files without end, each with the name of what it was."""
    random, names = Random(seed), sorted(files)
    while True:
        name = random.choice(names)
        yield name, changed(files[name], [random_change(random) for _ in range(random.randint(1, 5))])


def fuzz(outcome: Outcome, files: Mapping[str, bytes], description: str | None) -> int:
    """A program that runs until its time is over; gives its exit code, 1 if anything did what none may."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    given = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest, findings, reader = (0.0, ""), 0, Reader(outcome, files)
    until = perf_counter() + 60 * given.minutes
    for number, (name, data) in enumerate(damaged_files(files, given.seed)):
        started = perf_counter()
        if started > until:
            break
        became = reader.outcome(name, data)
        slowest = max(slowest, (perf_counter() - started, name))
        outcomes[became.partition("\n")[0]] += 1
        if became.startswith(("crash", "hang", "exception")):
            findings += 1
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{given.seed}-{number}").write_bytes(data)
            print(f"{name}, number {number}: {became}", flush=True)
            if not became.startswith("exception"):
                reader = Reader(outcome, files)
    reader.close()
    print(f"{outcomes.total()} files: {dict(outcomes.most_common())}")
    print(f"the slowest took {slowest[0]:.2f} s: {slowest[1]}")
    return 1 if findings else 0
