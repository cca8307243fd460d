from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Thread

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.metrics import count, distribute, timed
from transforms.core.progress import Progress, Tally


def test_threads_may_add_at_the_same_time() -> None:
    progress = Progress()

    def add() -> None:
        for _ in range(500):
            progress.add(recordings=1, failures=2, audio_s=0.5)

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.tally() == Tally(recordings=2000, failures=4000, audio_s=1000.0)
    progress.reset()
    assert progress.tally() == Tally()


def test_a_stop_is_seen_until_the_next_run() -> None:
    progress = Progress()
    progress.check()
    progress.request_stop()
    assert STOP.is_set()
    with pytest.raises(StopRequestedError):
        progress.check()
    progress.reset()
    progress.check()


def slow_items(n: int) -> Iterator[int]:
    for item in range(n):
        time.sleep(0.02)
        yield item


def consume_slowly(n: int) -> Iterator[int]:
    for item in timed(slow_items(n), "read"):
        count("items")
        time.sleep(0.05)
        yield item


def test_time_is_counted_while_items_are_made_not_while_they_are_used() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    _ = pipeline | beam.Create([3]) | beam.FlatMap(consume_slowly)
    result = pipeline.run()
    counters = {c.key.metric.name: c.result for c in result.metrics().query()["counters"]}
    assert counters["items"] == 3
    assert 60_000 <= counters["read_us"] < 150_000


def test_a_distribution_has_its_mean_and_extremes() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    _ = pipeline | beam.Create([1.2, 2.6, 9.0]) | beam.Map(lambda value: distribute("seconds", value))
    (found,) = pipeline.run().metrics().query()["distributions"]
    assert found.key.metric.name == "seconds"
    assert (found.result.count, found.result.sum, found.result.min, found.result.max) == (3, 13, 1, 9)
