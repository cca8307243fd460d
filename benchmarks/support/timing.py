"""Timing of repeated work, and formatting of the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Median and range of times, in seconds."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Computes the spread; raises `statistics.StatisticsError` without times."""
        times = sorted(seconds)
        return cls(statistics.median(times), times[0], times[-1])

    def __str__(self) -> str:
        digits = 3 if self.median < 1 else 2 if self.median < 100 else 1
        return f"{self.median:.{digits}f} ({self.fastest:.{digits}f}-{self.slowest:.{digits}f})"


def in_turn(runs: Sequence[Callable[[], T]], repeat: int) -> list[list[T]]:
    """Calls each function once, then each again, and so on, so that a slower machine affects all of them.

    Returns:
        The results of each of `runs`, in order.
    """
    results: list[list[T]] = [[] for _ in runs]
    for _ in range(repeat):
        for run, own_results in zip(runs, results, strict=True):
            own_results.append(run())
    return results


def time_jax(function: Callable[[], object], min_s: float = 0.3, min_calls: int = 3) -> Spread:
    """Measures the seconds per call of a compiled function, after a first call that is not counted.

    Args:
        function: returns arrays, which are waited for.
        min_s: minimum total seconds of the calls.
        min_calls: minimum number of calls.
    """
    import jax  # slow to import, and not needed to time processes

    jax.block_until_ready(function())
    seconds: list[float] = []
    while len(seconds) < min_calls or sum(seconds) < min_s:
        started = perf_counter()
        jax.block_until_ready(function())
        seconds.append(perf_counter() - started)
    return Spread.of(seconds)


def markdown_row(cells: Iterable[object]) -> str:
    """Returns a row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_head(columns: Sequence[str]) -> str:
    """Returns the first two lines of a table in Markdown."""
    return f"{markdown_row(columns)}\n{'|---' * len(columns)}|"
