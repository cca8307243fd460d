"""A run's sink of metrics, its progress, and its check for cancellation, as one record."""

from __future__ import annotations

from dataclasses import dataclass, field

from transforms.core.cancellation import Check, check_stop
from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """Passed to readers and recognizers, instead of module-global state.

    Attributes:
        metrics: the sink of counters and distributions.
        progress: recordings and seconds of audio done so far.
        check: called between two steps of work; raises `StopRequestedError` once the work is cancelled.
    """

    metrics: Metrics = NO_METRICS
    progress: Progress = field(default_factory=Progress)
    check: Check = check_stop
