from __future__ import annotations

import pickle
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from tests.support.clocks import Clock
from transforms.core import metrics
from transforms.core.cancellation import check_stop
from transforms.core.metrics import NAMESPACE, timed
from transforms.core.progress import PROGRESS
from transforms.dofns.counters import BEAM_CONTEXT, BEAM_METRICS

CLOCK = Clock()  # of this module, as Beam copies what it is given


def slow_items(n: int) -> Iterator[int]:
    for item in range(n):
        CLOCK.pass_s(0.25)
        yield item


def consume_slowly(n: int) -> Iterator[int]:
    for item in timed(slow_items(n), "read", BEAM_METRICS):
        BEAM_METRICS.count("items")
        CLOCK.pass_s(8)
        yield item


def test_counters_and_seconds_are_counters_of_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "perf_counter", CLOCK)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    _ = pipeline | beam.Create([3]) | beam.FlatMap(consume_slowly)
    found = pipeline.run().metrics().query()["counters"]
    counters = {one.key.metric.name: one.result for one in found}
    assert {one.key.metric.namespace for one in found} == {NAMESPACE}
    assert counters["items"] == 3
    assert counters["read_us"] == 750_000


def test_a_distribution_of_beam_has_its_mean_and_extremes() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    values = pipeline | beam.Create([1.2, 2.6, 9.0])
    _ = values | beam.Map(lambda value: BEAM_METRICS.distribute("seconds", value))
    (found,) = pipeline.run().metrics().query()["distributions"]
    assert found.key.metric.name == "seconds"
    assert (found.result.count, found.result.sum, found.result.min, found.result.max) == (3, 13, 1, 9)


def test_the_sink_is_shipped_to_workers() -> None:
    assert isinstance(pickle.loads(pickle.dumps(BEAM_METRICS)), type(BEAM_METRICS))


def test_the_context_of_dofns_is_that_of_the_process() -> None:
    assert BEAM_CONTEXT.metrics is BEAM_METRICS
    assert BEAM_CONTEXT.progress is PROGRESS
    assert BEAM_CONTEXT.check is check_stop
