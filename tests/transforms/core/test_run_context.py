from __future__ import annotations

import pytest

from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.run_context import RunContext


def test_a_context_counts_nothing_and_stops_with_the_process_by_default() -> None:
    context = RunContext()
    context.metrics.count("windows")
    context.check()
    STOP.set()
    with pytest.raises(StopRequestedError):
        context.check()


def test_each_context_has_a_progress_of_its_own() -> None:
    one, other = RunContext(), RunContext()
    one.progress.add(recordings=1)
    assert one.progress.tally().recordings == 1
    assert other.progress.tally().recordings == PROGRESS.tally().recordings == 0


def test_sink_progress_and_check_are_those_given() -> None:
    checks = list[int]()
    metrics = CountingMetrics()
    context = RunContext(metrics, PROGRESS, lambda: checks.append(1))
    context.metrics.count("windows", 2)
    context.check()
    assert (metrics.counters["windows"], checks) == (2, [1])
    assert context.progress is PROGRESS
