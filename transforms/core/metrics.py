"""What a run has done so far: counters for Beam, and a tally in this process for a progress bar.

Beam's metrics are what a run reports in the end, on any runner; they cannot be read while the in-process
runner works. The tally can, and is simply not seen where workers are other processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from time import perf_counter
from typing import TypeVar

from apache_beam.metrics.metric import Metrics

T = TypeVar("T")

NAMESPACE = "whisper_beam"
STAGES = ("read", "load", "compile", "model", "merge", "write")
"""Where seconds are counted: fetch, decode and window; load the model; compile it; the model; merge; write.

Those of compiling and of the model are of all lanes together, divided by their number; meanwhile others are
read."""


@cache
def _counter(name: str) -> Metrics.DelegatingCounter:
    """Kept: Beam makes another each time, and a short recording counts twenty things."""
    return Metrics.counter(NAMESPACE, name)


def count(name: str, n: int = 1) -> None:
    """Adds to the Beam counter of that name; must be called where Beam runs."""
    _counter(name).inc(n)


def count_seconds(stage: str, seconds: float) -> None:
    """Adds to the time of one of `STAGES`; counters are whole numbers, so in microseconds."""
    _counter(f"{stage}_us").inc(round(seconds * 1e6))


def distribute(name: str, value: float) -> None:
    """Adds a value to the Beam distribution of that name: consoles show count, mean and extremes.

    Distributions are of whole numbers, so the unit goes into the name and is small enough to round to.
    """
    Metrics.distribution(NAMESPACE, name).update(round(value))


def timed(items: Iterator[T], stage: str) -> Iterator[T]:
    """Passes the items on and counts the time spent getting them, not what is done with them."""
    while True:
        started = perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            count_seconds(stage, perf_counter() - started)
        yield item
