from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import get_ident
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import DecodingOptions, Request, Segment, WindowResult
from tests.support.bundles import bundle, do_fn_of, finished, processed, recordings, texts
from tests.support.executors import InlineExecutor
from tests.support.fake_transcribers import (
    FAILING,
    SOURCE,
    BrokenTranscriber,
    ConcurrentTranscriber,
    FakeTranscriber,
    StoppingTranscriber,
    UnsureTranscriber,
    loud_window,
    window,
)
from transforms.checkpoint.spans import ReadEvent, SpanEnded, SpanStarted
from transforms.core import types
from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.metrics import CountingMetrics
from transforms.core.types import AudioSource, Window
from transforms.dofns.transcribe import TranscribeWindows
from transforms.recognition import loaded_model
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.lanes import ModelError
from transforms.recognition.loaded_model import LoadedModel
from transforms.recognition.recognizer import Recognizer

NEW_RECOGNIZER = partial(Recognizer, decoding=DecodingOptions(), fallback=FallbackPolicy(), filters=())


def run_bundle(model: FakeTranscriber, windows: Sequence[Window]) -> list[Any]:
    return bundle(do_fn_of(model), [(SOURCE, window) for window in windows])


def failure_of(output: object) -> types.Failure:
    assert isinstance(output, TaggedOutput)
    assert isinstance(output.value, types.Failure)
    return output.value


def test_a_process_loads_one_model_at_its_first_window() -> None:
    n_loaded, shared = 0, Shared()

    def load() -> LoadedModel:
        nonlocal n_loaded
        n_loaded += 1
        return LoadedModel(FakeTranscriber())

    first, second = (TranscribeWindows(load, shared, NEW_RECOGNIZER) for _ in range(2))
    assert bundle(first, []) == []
    assert n_loaded == 0
    for do_fn in (first, second, first):
        do_fn.start_bundle()
        processed(do_fn, recordings(1))
        assert n_loaded == 1
        assert len(finished(do_fn)) == 1
    assert n_loaded == 1


def test_the_model_stays_loaded_between_bundles_when_another_object_is_shared() -> None:
    n_loaded, shared = 0, Shared()

    def load() -> LoadedModel:
        nonlocal n_loaded
        n_loaded += 1
        return LoadedModel(FakeTranscriber())

    do_fn = TranscribeWindows(load, shared, NEW_RECOGNIZER)
    bundle(do_fn, recordings(1))
    do_fn.start_bundle()
    Shared().acquire(FakeTranscriber)  # Beam keeps only the last object alive, here not the model
    gc.collect()
    processed(do_fn, recordings(2))
    assert texts(finished(do_fn)) == [" 2"]
    assert n_loaded == 1


def test_windows_are_keyed_transcripts_and_failures_name_their_seconds() -> None:
    source = AudioSource("id2", "https://me:pw@host/a.mp3")
    batch = [(AudioSource("id1", "u"), window(1, language="fr")), (source, window(2, FAILING))]
    good, failed, bad = bundle(do_fn_of(FakeTranscriber()), batch)
    assert (good[0], good[1].index, good[1].language) == ("id1", 1, "fr")
    assert (failed[0], failed[1].untranscribed) == ("id2", (types.Untranscribed(50.0, 51.0, "failed"),))
    failure = failure_of(bad)
    assert (failure.audio_id, failure.uri) == ("id2", "https://host/a.mp3")
    assert (failure.stage, failure.kind) == ("transcribe", "model_error")
    assert "seconds 50.00 to 51.00 are missing" in failure.message
    assert "ValueError: poisoned" in failure.message


def test_the_tail_that_the_model_left_out_is_decoded() -> None:
    ((key, transcript),) = run_bundle(StoppingTranscriber(), [loud_window(3.5)])
    assert key == "id"
    assert [(s.start_s, s.text) for s in transcript.segments] == [
        (0.0, " 56000"), (1.0, " 40000"), (2.0, " 24000"),
    ]  # fmt: skip


def test_tails_of_several_windows_are_decoded() -> None:
    model = StoppingTranscriber(batch_size=2)
    assert len(run_bundle(model, [loud_window(2.5), loud_window(2.5)])) == 2
    assert sum(model.calls) == 4


def test_a_tail_that_fails_keeps_the_text_before_it() -> None:
    (_, transcript), failure = run_bundle(StoppingTranscriber(), [loud_window(3.0, failing_at_s=1.0)])
    assert "seconds 1.00 to 3.00 are missing" in failure_of(failure).message
    assert [segment.text for segment in transcript.segments] == [" 48000"]


def test_a_bundle_starts_without_windows_of_the_one_before() -> None:
    model = StoppingTranscriber()
    do_fn = do_fn_of(model)
    do_fn.start_bundle()
    model.gate.clear()
    assert processed(do_fn, [(SOURCE, loud_window(3.0))]) == []
    assert bundle(do_fn, []) == []
    model.gate.set()


def test_a_suspended_generator_of_a_failed_bundle_does_not_affect_the_next_bundle() -> None:
    model = FakeTranscriber()
    do_fn = do_fn_of(model)
    model.gate.clear()  # or the result may be an output of `process`
    do_fn.start_bundle()
    processed(do_fn, recordings(1))
    model.gate.set()
    suspended = do_fn.finish_bundle()
    next(suspended)  # its consumer raises an exception, which references it
    do_fn.start_bundle()
    outputs = processed(do_fn, recordings(2))
    suspended.close()  # type: ignore[attr-defined]
    outputs += finished(do_fn)
    assert texts(outputs) == [" 2"]


class BlockedTranscriber(FakeTranscriber):
    """Works until its gate is set, and records on which threads."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.gate.clear()
        self.threads: set[int] = set()

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.threads.add(get_ident())
        return super().transcribe(requests)


def test_windows_are_processed_while_the_model_works() -> None:
    model = BlockedTranscriber(batch_size=2)
    do_fn = do_fn_of(model)
    do_fn.start_bundle()
    assert processed(do_fn, [(SOURCE, window(index)) for index in range(3)]) == []
    assert model.started.wait(30)
    model.gate.set()
    assert sorted(texts(finished(do_fn))) == [" 0", " 1", " 2"]
    assert sum(model.calls) == 3
    assert get_ident() not in model.threads


@pytest.fixture
def _stop_requested() -> Iterator[None]:
    yield
    STOP.clear()


@pytest.mark.usefixtures("_stop_requested")
@pytest.mark.parametrize("is_full", [True, False])
def test_no_batch_is_started_once_a_stop_is_requested(is_full: bool) -> None:
    model = BlockedTranscriber(batch_size=2)
    do_fn = do_fn_of(model)
    do_fn.start_bundle()
    processed(do_fn, [(SOURCE, window(index)) for index in range(3)])
    assert model.started.wait(30)
    STOP.set()
    with pytest.raises(StopRequestedError):
        processed(do_fn, [(SOURCE, window(4))]) if is_full else finished(do_fn)
    model.gate.set()
    STOP.clear()
    assert len(bundle(do_fn, [(SOURCE, window(5))])) == 1
    assert len(model.calls) == 2  # the one that was under way, and that of the next bundle


@pytest.mark.usefixtures("_stop_requested")
def test_no_model_is_loaded_once_a_stop_is_requested() -> None:
    do_fn = TranscribeWindows(pytest.fail, Shared(), NEW_RECOGNIZER)
    STOP.set()
    with pytest.raises(StopRequestedError):
        bundle(do_fn, [(SOURCE, window(1))])


def test_a_bundle_that_is_given_up_starts_no_further_batch() -> None:
    model = BlockedTranscriber(batch_size=2)
    do_fn = do_fn_of(model)
    do_fn.start_bundle()
    processed(do_fn, [(SOURCE, window(index)) for index in range(3)])
    assert model.started.wait(30)
    do_fn.teardown()
    model.gate.set()
    assert finished(do_fn) == []
    assert len(bundle(do_fn, [(SOURCE, window(5))])) == 1
    assert len(model.calls) == 2
    assert model.calls[1] == 1


def test_batches_of_a_bundle_are_transcribed_concurrently() -> None:
    outputs = run_bundle(ConcurrentTranscriber(), [window(index) for index in range(7)])
    assert sorted(texts(outputs)) == [f" {index}" for index in range(7)]


def test_bundles_of_several_threads_share_the_model_and_its_threads() -> None:
    shared, model = Shared(), ConcurrentTranscriber()

    def run(first: int) -> list[str]:
        elements = [(SOURCE, window(first + index)) for index in range(8)]
        return sorted(texts(bundle(do_fn_of(model, shared), elements)))

    with ThreadPoolExecutor(2) as runner:
        found = list(runner.map(run, (10, 20)))
    assert found == [[f" {first + index}" for index in range(8)] for first in (10, 20)]
    assert len(model.threads) == 2


def test_a_model_that_cannot_transcribe_silence_ends_the_run() -> None:
    with pytest.raises(ModelError, match=r"MemoryError: out of memory; .* smaller --batch_size"):
        run_bundle(BrokenTranscriber(), [loud_window(1.0)])


def test_windows_that_all_fail_do_not_end_the_run_of_a_model_that_works() -> None:
    outputs = run_bundle(FakeTranscriber(), [window(1, FAILING), window(2, FAILING)])
    failures = [failure_of(output).kind for output in outputs if isinstance(output, TaggedOutput)]
    assert failures == ["model_error", "model_error"]


def test_rejected_windows_are_decoded_again_at_higher_temperatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "ThreadPoolExecutor", lambda *_, **__: InlineExecutor())
    model = UnsureTranscriber(batch_size=4)
    do_fn = do_fn_of(model)
    do_fn.start_bundle()
    sure, unsure = window(1), window(2, first=-0.1)
    batch = [(SOURCE, sure), (SOURCE, unsure), (SOURCE, sure), (SOURCE, unsure)]
    outputs = processed(do_fn, batch)
    assert model.temperatures == [[0], [0], [0.2], [0.4]] * 2
    segments = [segment for _, transcript in outputs for segment in transcript.segments]
    assert [(s.text, s.temperature, s.fallback) for s in segments] == [
        (" at 0", 0.0, None),
        (" at 0.4", 0.4, "avg_logprob"),
    ] * 2


def test_windows_that_still_wait_are_decoded_at_the_end_of_the_bundle() -> None:
    model = UnsureTranscriber()
    ((_, transcript),) = run_bundle(model, [window(2, first=-0.1)])
    assert transcript.segments[0].temperature == 0.4
    assert model.temperatures == [[0], [0.2], [0.4]]


def test_with_one_temperature_there_is_no_fallback() -> None:
    model = UnsureTranscriber()
    do_fn = do_fn_of(model, fallback=FallbackPolicy(temperature=(0.0,)))
    ((_, transcript),) = bundle(do_fn, [(SOURCE, window(2, first=-0.1))])
    assert transcript.segments[0].fallback is None
    assert model.temperatures == [[0]]


def test_filters_are_applied_to_transcripts(counted: CountingMetrics) -> None:
    silent = replace(window(2), speech=((0, 1_000),))
    model = FakeTranscriber()
    model.decode = lambda _: WindowResult((Segment(8_000, 16_000, " thanks"),), "en")  # type: ignore[method-assign]
    for filters, n_segments in ((("no_speech",), 0), ((), 1)):
        ((_, transcript),) = bundle(do_fn_of(model, filters=filters), [(SOURCE, silent)])
        assert len(transcript.segments) == n_segments
    assert counted.counters["filtered_no_speech"] == 1


def test_windows_batches_and_seconds_of_new_audio_are_counted(counted: CountingMetrics) -> None:
    model = FakeTranscriber(batch_size=4)
    do_fn = do_fn_of(model)
    model.gate.clear()
    part = types.RecordingPart(SOURCE, n_windows=5, n_samples=80_000)
    do_fn.start_bundle()
    name = "a"
    span: list[ReadEvent] = [SpanStarted("key"), *((SOURCE, window(n)) for n in range(5)), part, SpanEnded()]
    for event in span:
        assert list(do_fn.process((name, event))) == []
    assert "windows" not in counted.counters
    model.gate.set()
    assert len(finished(do_fn)) == 6
    counts = counted.counters
    assert (counts["windows"], counts["new_ms"], counts["windows_fallback"]) == (5, 5_000, 0)
    assert sum(counted.distributions["batch_windows"]) == 5
    assert counts["model_us"] > 0
