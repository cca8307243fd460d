from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from tests.support.encoding import ffmpeg_encoded, siren
from tests.support.servers import LOCAL, Handler, send, serving
from transforms.checkpoint.spans import SpanEnded, SpanStarted, WorkUnit
from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.log_redaction import _RecordFactory
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.run_context import RunContext
from transforms.core.types import AudioSpan, Failure, RecordingPart
from transforms.core.uris import audio_source
from transforms.dofns.read_windows import NamedEvent, ReadWindows
from transforms.fetch.policy import FetchPolicy
from transforms.fetch.spool import DISK
from transforms.reading.span_reader import SpanReader
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


SIREN = ffmpeg_encoded(siren(70, 44_100), "mp3", "libmp3lame", 44_100)
STARTS_S = (0.5, 3.0, 28.0, 28.5, 31.0, 66.0, 69.0, 90.0)
"""Parts of 4 s, of which the last but one ends after the file, and the last one begins there."""


def parts_of(uri: str) -> list[WorkUnit]:
    sources = (
        replace(audio_source(uri), audio_id=f"{start_s}", start_s=start_s, end_s=start_s + 4)
        for start_s in STARTS_S
    )
    return [WorkUnit(f"{uri} {source.start_s}", AudioSpan(source)) for source in sources]


def described(events: Iterable[Any]) -> list[tuple[str, object]]:
    """The events without the names of readings, and with the samples of windows as bytes."""
    found: list[tuple[str, object]] = []
    for _, event in events:
        if isinstance(event, tuple):
            source, window = event
            found.append(("window", (source, replace(window, samples=b""), window.samples.tobytes())))
        else:
            found.append((type(event).__name__, event))
    return found


def alone(unit: WorkUnit) -> list[tuple[str, object]]:
    reader = SpanReader(unit, PLAN, LOCAL, 1800, RunContext())
    return described(reader.events())


def finished(do_fn: ReadWindows) -> list[Any]:
    return [value.value for value in do_fn.finish_bundle()]


def test_parts_of_a_file_are_read_as_each_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(SIREN)
    units = parts_of(str(tmp_path / "a.mp3"))
    do_fn = ReadWindows(PLAN, LOCAL)
    do_fn.start_bundle()
    for unit in units:
        assert described(do_fn.process(unit)) == alone(unit)
    assert finished(do_fn) == []


def test_the_parts_of_a_url_are_one_download(unit: WorkUnit, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(SIREN)
    with serving(lambda handler: send(handler, 200, SIREN)) as server:
        units = parts_of(f"{server.url}/a.mp3")
        do_fn = ReadWindows(PLAN, LOCAL)
        do_fn.start_bundle()
        assert [event for one in units for event in do_fn.process(one)] == []
        found = described(finished(do_fn))
        assert len(server.requests) == 1
        expected = [event for one in units for event in alone(one)]
        assert found == expected


def test_parts_that_come_after_others_were_read_use_the_open_copy(tmp_path: Path) -> None:
    with serving(lambda handler: send(handler, 200, SIREN)) as server:
        units = parts_of(f"{server.url}/a.mp3")
        do_fn = ReadWindows(PLAN, LOCAL)
        do_fn.start_bundle()
        assert list(do_fn.process(units[0])) == []
        other = parts_of(str(tmp_path / "missing.mp3"))[0]
        events: list[NamedEvent] = []
        while units[0].key not in keys_of(events):  # the copy is taken once it is there
            events += do_fn.process(other)
        for one in units[1:]:
            assert keys_of(do_fn.process(one)) == [one.key]
        assert finished(do_fn) == []
        assert len(server.requests) == 1


def test_a_stalled_url_with_parts_does_not_hold_up_those_of_another() -> None:
    stalled = threading.Event()

    def answer(handler: Handler) -> None:
        if handler.path == "/slow.mp3":
            stalled.wait(60)
        send(handler, 200, SIREN)

    with serving(answer) as server:
        slow, fast = (parts_of(f"{server.url}/{name}.mp3")[:3] for name in ("slow", "fast"))
        do_fn = ReadWindows(PLAN, LOCAL)
        do_fn.start_bundle()
        read = [event for one in (*slow, *fast) for event in do_fn.process(one)]
        bundle = do_fn.finish_bundle()
        while len(keys_of(read)) < len(fast):
            read.append(next(bundle).value)
        assert keys_of(read) == [one.key for one in fast]
        stalled.set()
        rest = [value.value for value in bundle]
        assert keys_of([*read, *rest]) == [one.key for one in (*fast, *slow)]
        assert len(server.requests) == 2


def keys_of(events: Iterable[NamedEvent]) -> list[str]:
    return [event.key for _, event in events if isinstance(event, SpanStarted)]


@pytest.mark.parametrize("status", [404, 200])
def test_a_file_that_cannot_be_read_is_a_failure_of_each_part(status: int) -> None:
    with serving(lambda handler: send(handler, status, b"no audio")) as server:
        units = parts_of(f"{server.url}/a.mp3")
        do_fn = ReadWindows(PLAN, LOCAL)
        do_fn.start_bundle()
        events = [event for one in units for event in do_fn.process(one)] + finished(do_fn)
        failed = [event for _, event in events if isinstance(event, Failure)]
        assert [one.audio_id for one in failed] == [one.span.source.audio_id for one in units]
        assert {one.kind for one in failed} == ({"not_found"} if status == 404 else {"not_audio"})
        assert len(server.requests) == 1


def test_a_part_that_may_crash_the_process_is_read_from_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(SIREN)
    units = parts_of(str(tmp_path / "a.mp3"))
    suspect = replace(units[1], n_crashes=2)
    do_fn = ReadWindows(PLAN, LOCAL)
    do_fn.start_bundle()
    for one in (units[0], suspect, units[2]):
        found = described(do_fn.process(one))
        assert found == alone(one)
        first = found[0][1]
        assert isinstance(first, SpanStarted)
        assert first.exclusive == (one is suspect)
        assert do_fn._kept.is_of(units[3])
    do_fn.teardown()
    assert not do_fn._kept.is_of(units[3])


def test_copies_of_downloads_are_deleted_when_the_bundle_ends() -> None:
    before = DISK._reserved
    limits = replace(LOCAL.limits, bytes_in_memory=1000)
    with serving(lambda handler: send(handler, 200, SIREN)) as server:
        do_fn = ReadWindows(PLAN, replace(LOCAL, limits=limits))
        do_fn.start_bundle()
        for one in parts_of(f"{server.url}/a.mp3"):
            assert list(do_fn.process(one)) == []
        bundle = do_fn.finish_bundle()
        next(bundle)
        assert DISK._reserved >= before + len(SIREN)
        list(bundle)
        assert DISK._reserved == before
