from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from threading import enumerate as enumerate_threads
from typing import Any

import pytest

from model.interface import ModelOptions, Request, WindowResult
from tests.support.clocks import Clock, set_clock
from tests.support.fake_transcribers import ConcurrentTranscriber, FakeTranscriber, window
from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.metrics import CountingMetrics
from transforms.core.run_context import RunContext
from transforms.recognition import batching, loaded_model
from transforms.recognition.batching import BatchClient
from transforms.recognition.loaded_model import LoadedModel, load_model

SETTINGS = ModelOptions(model="m")


class CompilingTranscriber(FakeTranscriber):
    """Takes 60 s for a call; that of the first one is for compiling, but for 20 s."""

    max_concurrent_calls = 2
    arithmetic = ""

    def __init__(self, clock: Clock, batch_size: int = 8) -> None:
        super().__init__(batch_size=batch_size)
        self.clock = clock

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.clock.pass_s(60)
        if not self.calls:
            self.compile_s += 40
        return super().transcribe(requests)


def request(index: int) -> Request:
    return Request(window(index).samples)


def decode_all(model: LoadedModel, context: RunContext, n_windows: int) -> list[str]:
    client = model.client(context)
    for index in range(n_windows):
        client.submit(request(index))
    texts = []
    while pairs := client.completed(wait=True):
        for _, result in pairs:
            assert isinstance(result, WindowResult)
            texts.append(result.segments[0].text)
    return sorted(texts)


def decode_rest(client: BatchClient) -> None:
    while client.completed(wait=True):
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch, batching, loaded_model)


def test_seconds_of_compiling_are_counted_apart_and_divided_by_the_concurrent_calls(clock: Clock) -> None:
    model, metrics = LoadedModel(CompilingTranscriber(clock)), CountingMetrics()
    context = RunContext(metrics)
    decode_all(model, context, 1)
    assert metrics.counters == {"compile_us": 20_000_000, "model_us": 10_000_000}
    decode_all(model, context, 1)
    assert metrics.counters == {"compile_us": 20_000_000, "model_us": 40_000_000}


def test_windows_and_times_of_turns_are_distributions(clock: Clock) -> None:
    transcriber, metrics = CompilingTranscriber(clock, batch_size=4), CountingMetrics()
    decode_all(LoadedModel(transcriber), RunContext(metrics), 6)
    assert sorted(metrics.distributions["batch_windows"]) == sorted(transcriber.calls)
    # The two lanes may run at the same time.
    assert all(60_000 <= ms <= 120_000 for ms in metrics.distributions["batch_model_ms"])


def test_loading_is_counted_and_gets_the_settings(clock: Clock) -> None:
    metrics, loaded = CountingMetrics(), list[ModelOptions]()

    def load(settings: ModelOptions) -> FakeTranscriber:
        clock.pass_s(2)
        loaded.append(settings)
        return FakeTranscriber()

    model = load_model(load, SETTINGS, metrics)
    assert loaded == [SETTINGS]
    assert metrics.counters["load_us"] == 2_000_000
    assert decode_all(model, RunContext(), 3) == [" 0", " 1", " 2"]


def test_batches_of_one_client_are_decoded_concurrently() -> None:
    assert decode_all(LoadedModel(ConcurrentTranscriber()), RunContext(), 7) == [f" {n}" for n in range(7)]


def test_clients_of_several_threads_share_the_threads_of_the_model() -> None:
    transcriber = ConcurrentTranscriber()
    model = LoadedModel(transcriber)
    with ThreadPoolExecutor(2) as callers:
        found = list(callers.map(lambda n: decode_all(model, RunContext(), n), (8, 8)))
    assert found == [[f" {n}" for n in range(8)]] * 2
    assert len(transcriber.threads) == 2


class InterruptedExecutor(ThreadPoolExecutor):
    """Is interrupted while it starts its second thread."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:  # noqa: ANN401  # of an executor
        if self._threads:
            raise KeyboardInterrupt
        return super().submit(*arguments, **named)


def test_an_interrupt_while_the_threads_are_started_leaves_none_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    barrier = Barrier(2)
    monkeypatch.setattr(loaded_model, "ThreadPoolExecutor", InterruptedExecutor)
    monkeypatch.setattr(threading, "Barrier", lambda _: barrier)
    before = set(enumerate_threads())
    with pytest.raises(KeyboardInterrupt):
        LoadedModel(ConcurrentTranscriber())
    (started,) = set(enumerate_threads()) - before
    started.join(30)
    is_left = started.is_alive()
    barrier.abort()
    assert not is_left


def test_a_window_that_waits_when_a_stop_is_requested_is_not_decoded() -> None:
    transcriber = FakeTranscriber(batch_size=1)
    transcriber.gate.clear()
    client = LoadedModel(transcriber).client(RunContext(check=lambda: None))
    client.submit(request(0))
    assert client.completed(wait=False) == []
    assert transcriber.started.wait(30)
    client.submit(request(1))
    STOP.set()
    transcriber.gate.set()
    with pytest.raises(StopRequestedError):
        decode_rest(client)
    assert transcriber.calls == [1]


def test_a_client_keeps_its_model() -> None:
    model = LoadedModel(FakeTranscriber())
    reference, client = weakref.ref(model), model.client(RunContext())
    del model
    gc.collect()
    assert reference() is not None
    del client
    gc.collect()
    assert reference() is None


def test_what_it_computes_with_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = CountingMetrics()
    load_model(lambda _: FakeTranscriber(), ModelOptions(), metrics).close()
    assert metrics.counters.keys() == {"load_us"}
    monkeypatch.setattr(FakeTranscriber, "arithmetic", "float32")
    for _ in range(2):
        load_model(lambda _: FakeTranscriber(), ModelOptions(), metrics).close()
    assert metrics.counters["arithmetic_float32"] == 2


def test_its_threads_run_from_the_start_until_it_is_closed() -> None:
    """An interrupt while a thread is started would leave it behind, and the process would not end."""
    before = set(enumerate_threads())
    model = LoadedModel(ConcurrentTranscriber())
    started = set(enumerate_threads()) - before
    assert len(started) == ConcurrentTranscriber.max_concurrent_calls
    model.close()
    assert not any(thread.is_alive() for thread in started)
