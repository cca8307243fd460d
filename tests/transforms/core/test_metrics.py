from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from tests.support.clocks import Clock, set_clock
from transforms.core import metrics as metrics_module
from transforms.core.metrics import NO_METRICS, STAGES, CountingMetrics, count_seconds, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch, metrics_module)


def slow_items(n: int, clock: Clock) -> Iterator[int]:
    for item in range(n):
        clock.pass_s(0.25)
        yield item


def test_counters_are_sums_and_distributions_keep_their_rounded_values() -> None:
    metrics = CountingMetrics()
    metrics.count("windows")
    metrics.count("windows", 4)
    for value in (1.2, 2.6, 9.0):
        metrics.distribute("seconds", value)
    assert metrics.counters == {"windows": 5}
    assert metrics.distributions == {"seconds": [1, 3, 9]}


def test_threads_may_count_at_the_same_time() -> None:
    metrics = CountingMetrics()

    def add() -> None:
        for _ in range(500):
            metrics.count("windows", 2)
            metrics.distribute("seconds", 1)

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counters["windows"] == 4000
    assert len(metrics.distributions["seconds"]) == 2000


def test_seconds_are_counted_in_microseconds() -> None:
    metrics = CountingMetrics()
    for stage in STAGES:
        count_seconds(metrics, stage, 0.25)
    count_seconds(metrics, "read", 0.0000014)
    assert metrics.counters == {**{f"{stage}_us": 250_000 for stage in STAGES}, "read_us": 250_001}


def test_time_of_the_iterator_is_counted_without_its_consumer(clock: Clock) -> None:
    metrics, items = CountingMetrics(), []
    for item in timed(slow_items(3, clock), "read", metrics):
        clock.pass_s(8)
        items.append(item)
    assert items == [0, 1, 2]
    assert metrics.counters["read_us"] == 750_000


def test_time_before_an_exception_is_counted(clock: Clock) -> None:
    def broken() -> Iterator[int]:
        clock.pass_s(0.25)
        raise ValueError("no")
        yield 1

    metrics = CountingMetrics()
    with pytest.raises(ValueError, match="no"):
        list(timed(broken(), "read", metrics))
    assert metrics.counters["read_us"] == 250_000


def test_no_metrics_ignores_counts() -> None:
    NO_METRICS.count("windows", 2)
    NO_METRICS.distribute("seconds", 1.0)
    assert list(timed(iter([1, 2]), "read", NO_METRICS)) == [1, 2]
