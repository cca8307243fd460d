"""Runs a child process and measures its time, and the memory of it and its children."""

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
    """Time and memory of a process, including its children.

    Attributes:
        stdout: its output.
        wall_s: seconds from its start to its end.
        cpu_s: CPU seconds of all cores, user and system.
        tree_mb: largest sum of resident sets of all its processes, sampled every `POLL_S`; shared pages are
            counted in each. Zero without /proc.
        processes: number of processes with at least a tenth of that.
        largest_mb: largest resident set of any one of them (`ru_maxrss`); never below that of the process
            that started them, of which they start as copies.
    """

    stdout: str
    wall_s: float
    cpu_s: float
    tree_mb: float
    processes: int
    largest_mb: float


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Runs a command and measures it; its standard error is inherited.

    Args:
        command: program and arguments.
        environment: variables in addition to those of this process.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    with tempfile.TemporaryFile("w+") as output:
        started = perf_counter()
        process = subprocess.Popen(command, stdout=output, env={**os.environ, **(environment or {})})
        sampler = _MemorySampler(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(
            status
        )  # `wait4` has reaped the process, so that `Popen` cannot
        sizes = sampler.stop()
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
    """Returns the peak memory of this process; `ru_maxrss` would include that of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e6


def isolated_command(python: Path, program: Path) -> list[str]:
    """Returns the command to run a program of this folder in another Python, isolated.

    Otherwise modules beside the program, such as `profile`, would shadow those of the standard library.
    """
    return [str(python), "-I", str(program)]


class _MemorySampler:
    """Samples the memory of a process and its descendants in a thread, until `stop`."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._largest: list[int] = []
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> list[int]:
        """Stops the thread; returns the resident sets in bytes when their sum was the largest."""
        self._over.set()
        self._thread.join()
        return self._largest

    def _sample(self) -> None:
        while not self._over.is_set():
            self._largest = max(self._largest, list(map(_resident_bytes, _tree(self._pid))), key=sum)
            self._over.wait(POLL_S)


def _tree(pid: int) -> Iterator[int]:
    """Yields the ids of a process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # the process has ended
            continue
        for child in below:
            yield from _tree(int(child))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # the process has ended, or is ending
        return 0
