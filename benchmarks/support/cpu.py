"""Description of the machine: processor, cores, relevant instruction sets, and load."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from model.cpu_features import cpu_features

FLAGS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve", "sme"),
)
PACKAGES = ("jax", "jaxlib", "apache-beam", "faster-whisper", "ctranslate2")


def describe_machine() -> str:
    """Returns a paragraph in Markdown; a high load means that the measurements are unreliable."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    versions = ", ".join(f"{name} {known}" for name in PACKAGES if (known := _version(name)))
    return (
        f"{cpu_name()}, {n_cores()} cores, {', '.join(cpu_flags()) or 'no relevant instruction sets'}; "
        f"{_memory_gb():.0f} GB; Python {platform.python_version()}, {versions}; load {load} at the start."
    )


def n_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    """Returns the model name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not on Linux
        text = ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Returns those of `FLAGS` that the processor has."""
    known = cpu_features()
    return [flag for flag in FLAGS if flag in known]


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
