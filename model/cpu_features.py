"""The instruction sets of this machine's processor."""

from __future__ import annotations

from pathlib import Path


def cpu_features(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Returns the processor's instruction sets, as Linux names them; empty if `listing` does not exist."""
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
