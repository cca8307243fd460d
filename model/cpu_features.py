"""The processor of this machine: its instruction sets, and its usable CPUs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

_OF_APPLE = {  # names of macOS, and those of Linux
    "AdvSIMD": "asimd", "FEAT_DotProd": "asimddp", "FEAT_BF16": "bf16", "FEAT_I8MM": "i8mm",
    "FEAT_SME": "sme", "FEAT_SME2": "sme2",
}  # fmt: skip
_SHOWN = {  # what decides on the arithmetic, or might; names of Linux, and those for readers
    "amx_int8": "AMX", "avx512_bf16": "AVX512-BF16", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI",
    "asimddp": "dot products", "i8mm": "I8MM", "bf16": "BF16", "sve": "SVE", "sme": "SME",
}  # fmt: skip
_TIMEOUT_S = 10


def cpu_features(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Returns the processor's instruction sets, as Linux names them; empty where no system lists them.

    Linux lists them as `flags` on x86, and as `Features` on ARM; on macOS, `sysctl` does.
    """
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return _of_macos() if sys.platform == "darwin" else frozenset()
    names = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(names, ()))


def _of_macos() -> frozenset[str]:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "hw.optional"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    values = (line.partition(": ") for line in done.stdout.splitlines())
    present = {name.rpartition(".")[2] for name, _, value in values if value.strip() == "1"}
    return frozenset(ours for theirs, ours in _OF_APPLE.items() if theirs in present)


def processor(features: frozenset[str]) -> str:
    """Returns the kind of processor, with those instruction sets that matter here: `x86-64 with AMX`."""
    machine = platform.machine().lower()
    kind = {"amd64": "x86-64", "x86_64": "x86-64", "aarch64": "ARM", "arm64": "ARM"}.get(machine, machine)
    names = ", ".join(shown for name, shown in _SHOWN.items() if name in features)
    measured = ", which was not measured" if kind == "ARM" else ""
    return (f"{kind} with {names}" if names else kind or "an unknown processor") + measured


def n_usable_cpus() -> int:
    """Returns the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
