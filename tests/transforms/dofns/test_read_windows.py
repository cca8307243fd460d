from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from tests.support.servers import LOCAL, Handler, send, serving
from transforms.checkpoint.spans import SpanEnded, SpanStarted, WorkUnit
from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.log_redaction import _RecordFactory
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSpan, Failure, RecordingPart
from transforms.core.uris import audio_source
from transforms.dofns.read_windows import ReadWindows
from transforms.fetch.policy import FetchPolicy
from transforms.windows.plan import WindowPlan

PLAN = WindowPlan(30, 5)


@pytest.fixture
def unit(tmp_path: Path) -> WorkUnit:
    """A recording of 70 s."""
    soundfile.write(tmp_path / "a.wav", np.full(70 * SAMPLE_RATE, 0.1, np.float32), SAMPLE_RATE)
    return WorkUnit("key", AudioSpan(audio_source(str(tmp_path / "a.wav"))))


@pytest.fixture
def _log_factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("_log_factory")
def test_workers_keep_credentials_out_of_their_logs() -> None:
    ReadWindows(PLAN).setup()
    assert isinstance(logging.getLogRecordFactory(), _RecordFactory)


def test_a_unit_is_read_span_by_span_and_counted(unit: WorkUnit, counted: CountingMetrics) -> None:
    elements = list(ReadWindows(PLAN, span_s=60).process(unit))
    names = list(dict.fromkeys(name for name, _ in elements))
    assert len(names) == 2
    spans = [[event for name, event in elements if name == one] for one in names]
    for events, start_s, indices in zip(spans, (0, 60), ([0, 1, 2], []), strict=True):
        first, *windows, part, last = events
        assert isinstance(first, SpanStarted)
        assert first.start.start_s == start_s
        assert [event[1].index for event in windows if isinstance(event, tuple)] == indices
        assert isinstance(part, RecordingPart)
        assert isinstance(last, SpanEnded)
    assert counted.counters["read_us"] > 0
    assert (PROGRESS.tally().recordings, PROGRESS.tally().audio_s) == (1, pytest.approx(70.0))


def test_two_readings_of_a_unit_have_different_names(unit: WorkUnit) -> None:
    do_fn = ReadWindows(PLAN)
    first, second = ({name for name, _ in do_fn.process(unit)} for _ in range(2))
    assert first.isdisjoint(second)


def test_a_recording_that_cannot_be_read_is_a_failure_of_its_span(tmp_path: Path) -> None:
    unit = WorkUnit("key", AudioSpan(audio_source(str(tmp_path / "missing.wav"))))
    started, failure, ended = (event for _, event in ReadWindows(PLAN).process(unit))
    assert isinstance(started, SpanStarted)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind) == ("fetch", "not_found")
    assert isinstance(ended, SpanEnded)


def test_reading_ends_when_a_stop_is_requested(unit: WorkUnit) -> None:
    events = ReadWindows(PLAN).process(unit)
    next(events)
    STOP.set()
    with pytest.raises(StopRequestedError):
        list(events)


def test_urls_are_fetched_together_and_what_is_here_does_not_wait(unit: WorkUnit, tmp_path: Path) -> None:
    wav, gate = (tmp_path / "a.wav").read_bytes(), threading.Barrier(8)
    stalled = threading.Event()

    def answer(handler: Handler) -> None:
        if handler.path != "/more.wav":
            gate.wait(60)  # all eight are asked for before one is answered
        if handler.path == "/0.wav":
            stalled.wait(60)
        send(handler, 200, wav)

    with serving(answer) as server:
        names = [*(f"{number}.wav" for number in range(8)), "more.wav"]
        remote = [WorkUnit(name, AudioSpan(audio_source(f"{server.url}/{name}"))) for name in names]
        do_fn = ReadWindows(PLAN, FetchPolicy(allow_private_hosts=True))
        do_fn.start_bundle()
        for one in remote[:7]:
            assert list(do_fn.process(one)) == []
        assert len(list(do_fn.process(unit))) > 3
        read = [event for one in remote[7:] for _, event in do_fn.process(one)]
        assert read  # a stalled download does not hold up those that have arrived
        started = [event.key for event in read if isinstance(event, SpanStarted)]
        assert "0.wav" not in started
        stalled.set()
        rest = [value.value[1] for value in do_fn.finish_bundle()]
        started += [event.key for event in rest if isinstance(event, SpanStarted)]
        assert sorted(started) == sorted(names)
        assert not [event for event in (*read, *rest) if isinstance(event, Failure)]
    do_fn.teardown()


def test_a_bundle_that_was_abandoned_leaves_no_download() -> None:
    with serving(lambda handler: server.stall()) as server:
        do_fn = ReadWindows(PLAN, LOCAL)
        assert list(do_fn.process(WorkUnit("a", AudioSpan(audio_source(f"{server.url}/a.wav"))))) == []
        do_fn.start_bundle()
        assert list(do_fn.finish_bundle()) == []
        for thread in threading.enumerate():
            if thread.name.startswith("fetch"):
                thread.join(60)
                assert not thread.is_alive()
