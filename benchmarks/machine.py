"""Performance limits of this machine's processor, as reached by XLA.

    python -m benchmarks.machine

Matrix products `rows x depth x columns` in GFLOP/s or GOP/s (a multiply-add counts as two operations), in
shapes of whisper-base: the MLP of the encoder, one head of its attention, and the projection of 8 and 16
tokens to the vocabulary. Memory bandwidth is that of a sum over 256 MB; the exponential is computed for
numbers in the cache. Each value is the fastest of many calls, in a process with one core and in one with
all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.support.cpu import describe_machine, n_cores
from benchmarks.support.timing import markdown_head, markdown_row, time_jax

SHAPES = (
    (1500, 512, 2048),
    (1500, 2048, 512),
    (1500, 64, 1500),
    (8, 512, 51_865),
    (16, 512, 51_865),
)


class Arithmetic(NamedTuple):
    """Types of the operands and of the sums."""

    operand: str
    sum: str

    def __str__(self) -> str:
        return f"{self.operand} -> {self.sum}"


ARITHMETIC = (
    Arithmetic("float32", "float32"),
    Arithmetic("bfloat16", "float32"),
    Arithmetic("int8", "int32"),
)
SUMMED_BYTES = 256 * 2**20
_EXP_SHAPE, _EXP_TIMES = (64, 1024), 200  # 256 KB


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # number of cores of a child process
    cores = parser.parse_args().measure
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # before JAX counts them
        print(json.dumps(dict(measure())))
        return
    print(f"{describe_machine()}\n", flush=True)
    counts = sorted({1, n_cores()})
    columns = [measure_with(n) for n in counts]
    print(markdown_head(["what", *(f"{n} core{'s' if n > 1 else ''}" for n in counts)]))
    for name in columns[0]:
        print(markdown_row([name, *(f"{column[name]:,.1f}" for column in columns)]))


def measure_with(n: int) -> Mapping[str, float]:
    """Runs `measure` in a process limited to `n` cores."""
    command = [sys.executable, "-m", "benchmarks.machine", "--measure", str(n)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def measure() -> Iterator[tuple[str, float]]:
    """Yields names with units, and rates of this process."""
    for shape in SHAPES:
        for arithmetic in ARITHMETIC:
            unit = "GOP/s" if arithmetic.sum == "int32" else "GFLOP/s"
            yield f"{' x '.join(map(str, shape))}, {arithmetic}, {unit}", dot_rate(shape, arithmetic) / 1e9
    yield "memory, GB/s", bandwidth() / 1e9
    yield "exp, 10^9 a second", exp_rate() / 1e9


def dot_rate(shape: tuple[int, int, int], arithmetic: Arithmetic) -> float:
    """Measures the operations per second of a matrix product.

    Args:
        shape: rows, depth and columns.
        arithmetic: types of operands and sums.
    """
    rows, depth, columns = shape
    key = jax.random.key(0)
    left, right = (
        jax.random.randint(key, size, -100, 100, jnp.int32).astype(arithmetic.operand)
        for size in ((rows, depth), (depth, columns))
    )
    dot = jax.jit(partial(jnp.matmul, preferred_element_type=arithmetic.sum))
    return 2 * rows * depth * columns / time_jax(lambda: dot(left, right)).fastest


def bandwidth() -> float:
    """Measures the bytes per second read from memory."""
    array = jnp.ones((SUMMED_BYTES // 4 // 4096, 4096), jnp.float32)
    total = jax.jit(lambda x: x.sum(axis=1))  # XLA is fastest at summing rows
    return SUMMED_BYTES / time_jax(lambda: total(array)).fastest


def exp_rate() -> float:
    """Measures the float32 exponentials per second."""

    @jax.jit
    def repeated(x: jax.Array) -> jax.Array:
        again: jax.Array = jax.lax.fori_loop(0, _EXP_TIMES, lambda _, y: jnp.exp(-y), x)
        return again

    x = jnp.linspace(0, 1, _EXP_SHAPE[0] * _EXP_SHAPE[1]).reshape(_EXP_SHAPE)
    return x.size * _EXP_TIMES / time_jax(lambda: repeated(x)).fastest


if __name__ == "__main__":
    main()
