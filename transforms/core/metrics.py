"""Counters and distributions as a sink that is passed to code that counts, so that counting needs no Beam.

In a pipeline the sink is Beam's metrics (`transforms.dofns.counters`), which every runner reports at the end;
elsewhere it is `CountingMetrics`, or `NO_METRICS`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Protocol, TypeVar

T = TypeVar("T")

NAMESPACE = "whisper_beam"
STAGES = ("read", "load", "compile", "model", "merge", "write")
"""Stages whose seconds are counted: fetch, decode and cut windows; load the model; compile it; run it; merge;
write. Seconds of `compile` and `model` are summed over concurrent calls and divided by their number."""


class Metrics(Protocol):
    """A sink of counts and distributions."""

    def count(self, name: str, n: int = 1) -> None:
        """Adds to a counter."""

    def distribute(self, name: str, value: float) -> None:
        """Adds a value to a distribution, rounded to a whole number; the name contains the unit."""


class CountingMetrics:
    """Sums in memory. Threads may share one.

    Attributes:
        counters: counters by name.
        distributions: by name, the values in the order in which they were added.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.distributions: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def count(self, name: str, n: int = 1) -> None:
        """See `Metrics`."""
        with self._lock:
            self.counters[name] += n

    def distribute(self, name: str, value: float) -> None:
        """See `Metrics`."""
        with self._lock:
            self.distributions.setdefault(name, []).append(round(value))


class _NoMetrics:
    """Ignores everything."""

    def count(self, name: str, n: int = 1) -> None:
        """See `Metrics`."""

    def distribute(self, name: str, value: float) -> None:
        """See `Metrics`."""


NO_METRICS: Metrics = _NoMetrics()


def count_seconds(metrics: Metrics, stage: str, seconds: float) -> None:
    """Adds to the time of one of `STAGES`; counters are whole numbers, so in microseconds."""
    metrics.count(f"{stage}_us", round(seconds * 1e6))


def timed(items: Iterator[T], stage: str, metrics: Metrics) -> Iterator[T]:
    """Yields the items and counts the time that the iterator takes, without that of its consumer."""
    while True:
        started = perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            count_seconds(metrics, stage, perf_counter() - started)
        yield item
