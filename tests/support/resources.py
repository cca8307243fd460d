"""What this process holds: memory, file descriptors, threads and temporary files."""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CAN_MEASURE_MEMORY = _CLEAR.exists()


POOLS = ("AnyIO worker thread", "asyncio_", "transcription_")
"""Beginnings of the names of threads that are kept for later."""


@dataclass(frozen=True)
class Resources:
    """What the process holds at a moment.

    Attributes:
        n_descriptors: open file descriptors.
        threads: names of its threads, without those of pools.
        n_pooled: threads of pools.
        n_native: threads that Python did not start.
        files: names of temporary files.
    """

    n_descriptors: int
    threads: tuple[str, ...]
    n_pooled: int
    n_native: int
    files: frozenset[str]


def resources() -> Resources:
    process = psutil.Process()
    names = sorted(thread.name for thread in threading.enumerate())
    own = tuple(name for name in names if not name.startswith(POOLS))
    return Resources(
        n_descriptors=process.num_fds(),
        threads=own,
        n_pooled=len(names) - len(own),
        n_native=process.num_threads() - len(names),
        files=frozenset(os.listdir(tempfile.gettempdir())),
    )


def memory_mb() -> float:
    """Resident memory of this process, without what the allocator keeps for later, in MB. Linux only."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return float(psutil.Process().memory_info().rss) / 1e6


@dataclass
class Peak:
    """By how much memory rose, in MB."""

    mb: float = 0.0


@contextmanager
def measured_peak() -> Iterator[Peak]:
    """Measures by how much the resident memory of this process rises in the block. Linux only."""
    peak = Peak()
    _CLEAR.write_text("5")  # the peak begins at what is resident now
    before_mb = _peak_mb()
    yield peak
    peak.mb = _peak_mb() - before_mb


def _peak_mb() -> float:
    status = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1000
