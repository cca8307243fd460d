"""The arithmetic of this CPU, the memory of GPUs and their rows, as text for `--dry_run`. No JAX."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from model.arithmetic import describe_arithmetic
from model.config import WhisperConfig
from model.cpu_features import cpu_features
from model.interface import AUTO, ModelOptions
from model.memory import MemoryModel, MemoryUse, number_sizes
from model.mesh_shape import parse_mesh

MIB = 2**20

CARDS: Mapping[str, int] = MappingProxyType(
    {
        "T4 16 GB": 15_360 * MIB,
        "L4 24 GB": 23_034 * MIB,
        "A100 40 GB": 40_960 * MIB,
        "A100 80 GB": 81_920 * MIB,
        "H100 80 GB": 81_559 * MIB,
        "H200 141 GB": 143_771 * MIB,
    }
)
"""Bytes of cards, as `nvidia-smi` prints them."""

_DEFAULT_SHARE = 0.75
_TIMEOUT_S = 10


class Card(NamedTuple):
    """A card of this machine: name and bytes."""

    name: str
    n_bytes: int


def gpu_memory(config: WhisperConfig, options: ModelOptions) -> MemoryModel:
    """Returns the count of a model's memory on GPUs, where `auto` is float16."""
    dtype = "float16" if options.dtype == AUTO else options.dtype
    arithmetic = "none" if options.quantization == AUTO else options.quantization
    numbers = number_sizes(dtype, arithmetic)
    return MemoryModel.of(config, options, numbers, parse_mesh(options.mesh))


def jax_bytes(n_bytes: int) -> int:
    """Returns the part of a card's memory that JAX uses: three quarters, or what the environment sets."""
    share = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "")
    try:
        return int(n_bytes * float(share))
    except ValueError:
        return int(n_bytes * _DEFAULT_SHARE)


def local_card() -> Card | None:
    """Returns the first GPU that `nvidia-smi` lists; None if there is no such program, or no card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        name, _, size = done.stdout.splitlines()[0].rpartition(",")
        return Card(name.strip(), int(size) * MIB)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def describe_memory(config: WhisperConfig, options: ModelOptions) -> list[str]:
    """Returns lines on the memory of GPUs that a model with these options takes, and on its rows."""
    memory, card = gpu_memory(config, options), local_card()
    rows = options.batch_size or (memory.rows(jax_bytes(card.n_bytes)) if card else 8 * memory.mesh.data)
    lines = [f"on a GPU    {format_use(memory.use(rows))} at most, for batches of {rows} rows"]
    if not options.batch_size:
        by_card = (f"{name}: {format_rows(memory, n_bytes)}" for name, n_bytes in CARDS.items())
        lines.append(f"rows        {', '.join(by_card)}")
    if card is not None:
        is_tight = not memory.fits(rows, jax_bytes(card.n_bytes))
        lines.append(f"this GPU    {card.name}: {rows} rows" + (", which may not fit" if is_tight else ""))
    return lines


def describe_cpu(options: ModelOptions) -> str:
    """Returns a line on what a model with these options computes with on the CPU of this machine."""
    activations = "float32" if options.dtype == AUTO else options.dtype
    choice = describe_arithmetic(
        options.quantization, options.dtype, backend="cpu", features=cpu_features(), activations=activations
    )
    return f"on this CPU {choice}"


def format_use(use: MemoryUse) -> str:
    """Returns the memory of a device in GB, in all and by what it is for."""
    parts = (
        *(("weights", use.weights), ("cross-attention caches", use.cross_kv)),
        *(("self-attention caches", use.self_attention), ("encoder", use.encoding), ("logits", use.logits)),
    )
    return f"{use.total / 1e9:.1f} GB ({', '.join(f'{name} {size / 1e9:.1f}' for name, size in parts)})"


def format_rows(memory: MemoryModel, n_bytes: int) -> str:
    """Returns the default rows on a card of that size; with `(tight)` where they may be too many."""
    usable = jax_bytes(n_bytes)
    rows = memory.rows(usable)
    return f"{rows}" if memory.fits(rows, usable) else f"{rows} (tight)"
