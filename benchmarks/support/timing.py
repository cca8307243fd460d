"""Times of repeated work, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The median of some times, and how far apart they are, in seconds."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Raises `statistics.StatisticsError` without any."""
        times = sorted(seconds)
        return cls(statistics.median(times), times[0], times[-1])

    def __str__(self) -> str:
        digits = 3 if self.median < 1 else 2 if self.median < 100 else 1
        return f"{self.median:.{digits}f} ({self.fastest:.{digits}f}-{self.slowest:.{digits}f})"


def in_turn(runs: Sequence[Callable[[], T]], repeat: int) -> list[list[T]]:
    """Calls each one time, then each again, and so on: a machine that slows down slows them all.

    Returns:
        For each of `runs` what its calls gave, in order.
    """
    results: list[list[T]] = [[] for _ in runs]
    for _ in range(repeat):
        for run, given in zip(runs, results, strict=True):
            given.append(run())
    return results


def time_jax(function: Callable[[], object], least_s: float = 0.3, least_calls: int = 3) -> Spread:
    """Seconds of a call of a compiled function, once its first call is over.

    Args:
        function: gives arrays; they are waited for.
        least_s: calls go on for that long,
        least_calls: and for that many.
    """
    import jax  # slow to import, and not needed where processes are timed

    jax.block_until_ready(function())
    seconds: list[float] = []
    while len(seconds) < least_calls or sum(seconds) < least_s:
        started = perf_counter()
        jax.block_until_ready(function())
        seconds.append(perf_counter() - started)
    return Spread.of(seconds)


def markdown_row(cells: Iterable[object]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_head(columns: Sequence[str]) -> str:
    """The first two lines of a table in Markdown."""
    return f"{markdown_row(columns)}\n{'|---' * len(columns)}|"
