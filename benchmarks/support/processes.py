"""A child process run to its end: how long it took, and what it and its children held of memory."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

POLL_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """What a process took, its children included.

    Attributes:
        stdout: what it printed.
        wall_s: from its start to its end.
        cpu_s: of all cores, user and system.
        tree_mb: the largest sum of resident sets of all its processes, seen every `POLL_S`; pages that they
            share are counted in each. Zero where there is no /proc.
        processes: how many of them held a tenth of that or more.
        largest_mb: the largest resident set of any one of them (`ru_maxrss`); not below that of the process
            that started them, as they begin as its copies.
    """

    stdout: str
    wall_s: float
    cpu_s: float
    tree_mb: float
    processes: int
    largest_mb: float


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Runs a command; its errors go to ours.

    Args:
        command: program and arguments.
        environment: variables beside our own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryFile("w+") as output:
        started = perf_counter()
        process = subprocess.Popen(command, stdout=output, env={**os.environ, **(environment or {})})
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # `wait4` took what `Popen` would wait for
        sizes = watch.stop()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        output.seek(0)
        return Measured(
            stdout=output.read(),
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            tree_mb=sum(sizes) / 1e6,
            processes=sum(10 * size >= sum(sizes) for size in sizes),
            largest_mb=usage.ru_maxrss * 1024 / 1e6,
        )


def peak_mb() -> float:
    """The most memory that this process has held; `ru_maxrss` is also what its starter held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e6


def companion(python: Path, program: Path) -> list[str]:
    """The command for a program of this folder in another Python.

    Isolated: else it would find the modules beside it before its own, `profile` among them.
    """
    return [str(python), "-I", str(program)]


class _Watch:
    """Looks at the memory of a process and all below it, in a thread, until it is told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._largest: list[int] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> list[int]:
        """The resident sets, in bytes, when their sum was the largest."""
        self._over.set()
        self._thread.join()
        return self._largest

    def _look(self) -> None:
        while not self._over.is_set():
            self._largest = max(self._largest, list(map(_resident_bytes, _tree(self._pid))), key=sum)
            self._over.wait(POLL_S)


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # it has ended since
            continue
        for child in below:
            yield from _tree(int(child))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has ended, or is about to
        return 0
