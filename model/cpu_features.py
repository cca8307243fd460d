"""The processor of this machine: its instruction sets, and its usable CPUs."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_features(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Returns the processor's instruction sets, as Linux names them; empty if `listing` does not exist."""
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def n_usable_cpus() -> int:
    """Returns the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
