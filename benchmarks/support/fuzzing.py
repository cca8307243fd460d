"""Fuzzing loop: reads damaged files in a process with limits on time and memory, and detects its crashes."""

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

from tests.support.fuzzing import MAX_S, changed, random_change

MAX_BYTES = 1 << 30
"""Address space that a process may use in addition to its size after reading every undamaged file."""

Outcome = Callable[[str, bytes], str]
"""Reads a file, given its name and content, and returns the outcome in a word; raises undocumented errors."""


class Reader:
    """A process that reads files; it must be replaced after it has crashed or hung.

    Args:
        outcome: function of a module, as the process imports it.
        files: undamaged files by name; each is read once, so that late imports do not count.
    """

    def __init__(self, outcome: Outcome, files: Mapping[str, bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self._files, end = context.Pipe()
        self._process = context.Process(target=_read_all, args=(end, outcome, files), daemon=True)
        self._process.start()
        end.close()
        self._files.recv()  # waits for its start

    def outcome(self, name: str, data: bytes) -> str:
        """Returns the outcome, or `crash`, `hang`, or `exception` with the traceback of another error."""
        self._files.send((name, data))
        if not self._files.poll(MAX_S):
            self.close()
            return "hang"
        try:
            return str(self._files.recv())
        except EOFError:
            self.close()
            return "crash"

    def close(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.join()


def _read_all(files: Connection, outcome: Outcome, undamaged: Mapping[str, bytes]) -> None:
    for name, data in undamaged.items():
        outcome(name, data)
    bound = _address_space() + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    files.send("started")
    while True:
        try:
            name, data = files.recv()
        except EOFError:
            return
        try:
            files.send(outcome(name, data))
        except BaseException:  # any error is a finding, also a panic of Rust
            files.send(f"exception\n{traceback.format_exc()}")


def _address_space() -> int:
    """Returns the bytes of address space of this process, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def damaged_files(files: Mapping[str, bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields damaged files for ever, each with the name of the original."""
    random, names = Random(seed), sorted(files)
    while True:
        name = random.choice(names)
        yield name, changed(files[name], [random_change(random) for _ in range(random.randint(1, 5))])


def fuzz(outcome: Outcome, files: Mapping[str, bytes], description: str | None) -> int:
    """Runs the fuzzing program for `--minutes`; returns its exit code, 1 if there are findings."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest, findings, reader = (0.0, ""), 0, Reader(outcome, files)
    until = perf_counter() + 60 * args.minutes
    for number, (name, data) in enumerate(damaged_files(files, args.seed)):
        started = perf_counter()
        if started > until:
            break
        result = reader.outcome(name, data)
        slowest = max(slowest, (perf_counter() - started, name))
        counts[result.partition("\n")[0]] += 1
        if result.startswith(("crash", "hang", "exception")):
            findings += 1
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{args.seed}-{number}").write_bytes(data)
            print(f"{name}, number {number}: {result}", flush=True)
            if not result.startswith("exception"):
                reader = Reader(outcome, files)
    reader.close()
    print(f"{counts.total()} files: {dict(counts.most_common())}")
    print(f"the slowest took {slowest[0]:.2f} s: {slowest[1]}")
    return 1 if findings else 0
