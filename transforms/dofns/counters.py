"""Beam's metrics as the sink of `transforms.core.metrics`; used on the threads in which Beam calls DoFns."""

from __future__ import annotations

from functools import cache

from apache_beam.metrics.metric import Metrics as BeamMetric

from transforms.core.metrics import NAMESPACE
from transforms.core.progress import PROGRESS
from transforms.core.run_context import RunContext


class BeamMetrics:
    """A `transforms.core.metrics.Metrics` that adds to Beam's counters and distributions."""

    def count(self, name: str, n: int = 1) -> None:
        """Adds to the Beam counter of that name."""
        _counter(name).inc(n)

    def distribute(self, name: str, value: float) -> None:
        """Adds to the Beam distribution of that name: consoles show count, mean and extremes."""
        BeamMetric.distribution(NAMESPACE, name).update(round(value))


@cache
def _counter(name: str) -> BeamMetric.DelegatingCounter:
    """Cached: Beam creates a new object at each call, and a short recording counts twenty things."""
    return BeamMetric.counter(NAMESPACE, name)


BEAM_METRICS = BeamMetrics()
BEAM_CONTEXT = RunContext(metrics=BEAM_METRICS, progress=PROGRESS)
"""The context of the DoFns: the progress bar of a local run reads `PROGRESS` of the same process."""
