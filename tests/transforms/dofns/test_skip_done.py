from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import SAMPLE_RATE
from transforms.checkpoint.commit_log import LogWriter
from transforms.checkpoint.resume import ResumeSettings
from transforms.checkpoint.spans import (
    SpanResult,
    SpanStart,
    WorkUnit,
    span_key,
    to_record,
    work_unit_key,
)
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, WindowTranscript
from transforms.dofns import skip_done
from transforms.dofns.skip_done import SkipDone, outputs_of
from transforms.dofns.tags import FAILURES, PARTS, UNFINISHED, UNITS

SPAN = AudioSpan(AudioSource("id", "/a.wav"))
KEY = work_unit_key(SPAN)
WINDOW = WindowTranscript("id", 0, 0.0, 9.0, (), "en")
PART = RecordingPart(SPAN.source, n_windows=1, n_samples=9 * 16_000)
FAILURE = Failure("id", "/a.wav", "decode", "truncated", "cut")
DONE = SpanResult(KEY, windows=(WINDOW,), parts=(PART,), counts={"windows": 1})


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def outputs(
    log: str, span: AudioSpan = SPAN, *, retry_failed: bool = False, committed_only: bool = False
) -> list[tuple[str, Any]]:
    """The outputs for a span, each with its tag."""
    do_fn = SkipDone(ResumeSettings(log, retry_failed, committed_only), Shared())
    do_fn.setup()
    return [
        (one.tag, one.value) if isinstance(one, TaggedOutput) else ("windows", one)
        for one in do_fn.process(span)
    ]


def commit(log: str, result: SpanResult | None = None, n_crashed: int = 1, n_released: int = 0) -> None:
    writer = LogWriter(log)
    for _ in range(n_crashed):
        writer.begin([KEY])
    for _ in range(n_released):
        writer.release([KEY])
    if result is not None:
        writer.commit([(result.key, to_record(result))])
    writer.close()


def test_a_span_that_is_not_committed_is_a_unit_of_work(log: str) -> None:
    assert outputs(log) == [(UNITS, WorkUnit(KEY, SPAN))]
    without = SkipDone(None, Shared())
    without.setup()
    assert [output.value for output in without.process(SPAN)] == [WorkUnit(KEY, SPAN)]


def test_a_committed_span_is_emitted_again_and_counted(log: str, counted: CountingMetrics) -> None:
    commit(log, DONE)
    PROGRESS.reset()
    assert outputs(log) == [("windows", ("id", WINDOW)), (PARTS, ("id", PART))]
    assert (counted.counters["windows"], counted.counters["resumed"]) == (1, 1)
    tally = PROGRESS.tally()
    assert (tally.recordings, tally.resumed, tally.audio_s) == (1, 1, 9.0)


def test_a_committed_second_pass_counts_as_no_recording(log: str, counted: CountingMetrics) -> None:
    span = AudioSpan(SPAN.source, "en", frozenset({0}))
    commit(log, SpanResult(work_unit_key(span), windows=(WINDOW,)))
    PROGRESS.reset()
    assert outputs(log, span) == [("windows", ("id", WINDOW))]
    assert "resumed" not in counted.counters
    assert PROGRESS.tally().recordings == 0


def test_failures_are_retried_only_with_retry_failed(log: str) -> None:
    commit(log, SpanResult(KEY, failures=(FAILURE,)))
    assert outputs(log) == [(FAILURES, FAILURE)]
    assert outputs(log, retry_failed=True) == [
        (UNITS, WorkUnit(KEY, SPAN, attempts={KEY: 2}))
    ]  # beside others
    commit(log, SpanResult(KEY, windows=(WINDOW,), parts=(PART,), attempt=2))
    assert [tag for tag, _ in outputs(log, retry_failed=True)] == ["windows", PARTS]


def test_a_span_that_crashed_three_times_is_quarantined(log: str) -> None:
    for n_crashes in (1, 2):
        commit(log)
        assert outputs(log) == [(UNITS, WorkUnit(KEY, SPAN, n_crashes=n_crashes))]
    commit(log)
    ((tag, failure),) = outputs(log)
    assert (tag, failure.kind) == (FAILURES, "quarantined")
    assert outputs(log, retry_failed=True) == [(UNITS, WorkUnit(KEY, SPAN, n_crashes=3))]


def test_what_is_not_finished_may_be_left_out(log: str) -> None:
    unfinished = [(UNFINISHED, "id")]
    assert outputs(log, committed_only=True) == unfinished
    part = replace(PART, stop_s=30, n_samples=None)
    commit(log, SpanResult(KEY, stop_s=30, windows=(WINDOW,), parts=(part,)))
    assert [tag for tag, _ in outputs(log)] == ["windows", PARTS, UNITS]
    assert outputs(log, committed_only=True) == unfinished
    assert outputs(log, AudioSpan(SPAN.source, "en", frozenset({0})), committed_only=True) == []
    commit(log, replace(DONE, attempt=2))
    assert [tag for tag, _ in outputs(log, committed_only=True)] == ["windows", PARTS]


def test_a_process_reads_the_log_once(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(log, DONE)
    read: list[str] = []
    original = skip_done.read_index
    monkeypatch.setattr(skip_done, "read_index", lambda url: read.append(url) or original(url))
    shared = Shared()
    do_fns = [SkipDone(ResumeSettings(log), shared) for _ in range(3)]
    for do_fn in do_fns:
        do_fn.setup()
    assert read == [log]


def test_all_windows_parts_and_failures_of_a_result_are_emitted() -> None:
    result = SpanResult(KEY, windows=(WINDOW,), parts=(PART,), failures=(FAILURE,))
    tags = [one.tag if isinstance(one, TaggedOutput) else "windows" for one in outputs_of(result)]
    assert tags == ["windows", PARTS, FAILURES]


def span_done(start_s: int, stop_s: int | None, channel: int = 0, n_channels: int = 1) -> SpanResult:
    """The result of a span of the recording, with one part and one window."""
    start = SpanStart(channel, start_s)
    part = replace(PART, start_s=start_s, stop_s=stop_s, n_samples=None if stop_s else 200 * SAMPLE_RATE)
    window = replace(WINDOW, index=start_s)
    return SpanResult(span_key(KEY, start), start, stop_s, n_channels, (window,), (part,))


def test_committed_spans_are_emitted_and_the_missing_ones_are_a_unit(
    log: str, counted: CountingMetrics
) -> None:
    for result in (span_done(60, 90), span_done(0, 30)):
        commit(log, result, n_crashed=0)
    *emitted, (tag, unit) = outputs(log)
    assert [value[1].index for at, value in emitted if at == "windows"] == [0, 60]
    assert [value[1].start_s for at, value in emitted if at == PARTS] == [0, 60]
    assert tag == UNITS
    assert list(itertools.islice(unit.missing(0, 30), 3)) == [(30, 60), (90, 120), (120, 150)]
    assert unit.attempts == {KEY: 2, f"{KEY}/0/60": 2}
    assert "resumed" not in counted.counters
    commit(log, span_done(30, 60), n_crashed=0)
    commit(log, span_done(90, None), n_crashed=0)
    assert [tag for tag, _ in outputs(log)] == ["windows", PARTS] * 4
    assert counted.counters["resumed"] == 1


def test_a_range_emits_the_committed_spans_that_start_in_it(log: str) -> None:
    for result in (span_done(0, 90), span_done(90, None)):
        commit(log, result, n_crashed=0)
    ranges = [(0, 60), (60, 120), (120, None)]
    spans = [replace(SPAN, start_s=start_s, stop_s=stop_s) for start_s, stop_s in ranges]
    emitted = [[value[1].start_s for tag, value in outputs(log, span) if tag == PARTS] for span in spans]
    assert emitted == [[0], [90], []]
    assert all(tag != UNITS for span in spans for tag, _ in outputs(log, span))


def test_each_channel_has_its_own_missing_ranges(log: str) -> None:
    split = replace(SPAN, split=True)
    key = work_unit_key(split)
    for channel, stop_s in ((0, None), (1, 60)):
        result = span_done(0, stop_s, channel, 2)
        commit(log, replace(result, key=span_key(key, SpanStart(channel, 0))), n_crashed=0)
    tag, unit = outputs(log, split)[-1]
    assert tag == UNITS
    assert list(unit.missing(0, 60)) == []
    assert next(unit.missing(1, 60)) == (60, 120)
    commit(log, replace(span_done(60, None, 1, 2), key=span_key(key, SpanStart(1, 60))), n_crashed=0)
    assert outputs(log, split)[-1][0] != UNITS


def test_crashes_of_any_span_count_for_its_recording(log: str) -> None:
    commit(log, span_done(0, 60), n_crashed=0)
    writer = LogWriter(log)
    for _ in range(3):
        writer.begin([span_key(KEY, SpanStart(0, 60))])
    writer.close()
    *_, (tag, failure) = outputs(log)
    assert (tag, failure.kind, failure.attempts) == (FAILURES, "quarantined", 3)


def test_a_shared_recording_is_resumed_when_all_its_ranges_are_committed(
    log: str, counted: CountingMetrics
) -> None:
    spans = [replace(SPAN, stop_s=60), replace(SPAN, start_s=60)]
    commit(log, span_done(0, 60), n_crashed=0)
    PROGRESS.reset()
    assert [tag for span in spans for tag, _ in outputs(log, span)] == ["windows", PARTS, UNITS]
    assert (counted.counters["resumed"], PROGRESS.tally().recordings, PROGRESS.tally().resumed) == (0, 1, 0)
    commit(log, span_done(60, None), n_crashed=0)
    PROGRESS.reset()
    assert [tag for span in spans for tag, _ in outputs(log, span)] == ["windows", PARTS] * 2
    assert (counted.counters["resumed"], PROGRESS.tally().recordings, PROGRESS.tally().resumed) == (1, 1, 1)
