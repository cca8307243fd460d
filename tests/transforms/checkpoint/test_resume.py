from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model.interface import SAMPLE_RATE
from transforms.checkpoint.commit_log import LogWriter, read_index
from transforms.checkpoint.resume import (
    ResumeSettings,
    committed_results,
    is_complete,
    is_in_range,
    with_history,
)
from transforms.checkpoint.spans import (
    SpanResult,
    SpanStart,
    WorkUnit,
    span_key,
    to_record,
    work_unit_key,
)
from transforms.core.damage import Damage
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, WindowTranscript

SPAN = AudioSpan(AudioSource("id", "/a.wav"))
KEY = work_unit_key(SPAN)
UNIT = WorkUnit(KEY, SPAN)
WINDOW = WindowTranscript("id", 0, 0.0, 9.0, (), "en")
PART = RecordingPart(SPAN.source, n_windows=1, n_samples=9 * SAMPLE_RATE)
FAILURE = Failure("id", "/a.wav", "decode", "truncated", "cut")


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def commit(log: str, *results: SpanResult) -> None:
    writer = LogWriter(log)
    writer.begin([result.key for result in results])
    writer.commit([(result.key, to_record(result)) for result in results])
    writer.close()


def start(log: str, key: str = KEY, n_times: int = 1, *, release: bool = False) -> None:
    """Records that work on a span started, as by processes that crashed then, or released it."""
    writer = LogWriter(log)
    for _ in range(n_times):
        writer.begin([key])
    if release:
        writer.release([key])
    writer.close()


def committed(log: str, unit: WorkUnit = UNIT, *, retry_failed: bool = False) -> list[SpanResult]:
    return committed_results(unit, read_index(log), ResumeSettings(log, retry_failed))


def history(log: str, span: AudioSpan = SPAN) -> WorkUnit:
    """The unit of a span with what the log contains about it."""
    unit = replace(UNIT, span=span)
    return with_history(unit, committed(log, unit), read_index(log))


def result_of(start_s: int, stop_s: int | None, channel: int = 0, n_channels: int = 1) -> SpanResult:
    """The result of a span of the recording, with one part and one window."""
    span_start = SpanStart(channel, start_s)
    part = replace(PART, start_s=start_s, stop_s=stop_s, n_samples=None if stop_s else 200 * SAMPLE_RATE)
    window = replace(WINDOW, index=start_s)
    return SpanResult(span_key(KEY, span_start), span_start, stop_s, n_channels, (window,), (part,))


def starts(results: Sequence[SpanResult]) -> list[int]:
    return [result.start.start_s for result in results]


def test_without_a_log_nothing_is_committed(log: str) -> None:
    assert committed(log) == []
    assert history(log) == UNIT


def test_results_are_in_the_order_of_the_recording_and_as_they_were_committed(log: str) -> None:
    first, second = result_of(0, 30), result_of(30, None)
    commit(log, second, first)
    assert committed(log) == [first, second]


@pytest.mark.parametrize(
    "failure", [replace(FAILURE, retryable=True), replace(FAILURE, kind="forbidden_host")]
)
def test_failures_that_may_have_passed_or_been_permitted_since_are_retried(
    log: str, failure: Failure
) -> None:
    commit(log, SpanResult(KEY, failures=(failure,)))
    assert committed(log) == []
    assert history(log) == WorkUnit(KEY, SPAN, attempts={KEY: 2})


@pytest.mark.parametrize(
    "result",
    [
        SpanResult(KEY, failures=(FAILURE,)),
        SpanResult(KEY, parts=(replace(PART, damage=Damage(read_error="cut")),)),
    ],
)
def test_other_failures_and_damage_are_retried_only_with_retry_failed(log: str, result: SpanResult) -> None:
    commit(log, result)
    assert committed(log) == [result]
    assert committed(log, retry_failed=True) == []


def test_a_record_of_another_version_is_done_again(log: str) -> None:
    writer = LogWriter(log)
    writer.begin([KEY])
    writer.commit([(KEY, {"windows": "nothing that is known"})])
    writer.close()
    assert committed(log) == []
    assert history(log) == WorkUnit(KEY, SPAN, attempts={KEY: 2})


def test_of_spans_that_overlap_each_second_counts_once(log: str) -> None:
    commit(log, result_of(0, 90), result_of(60, 120), result_of(90, None))
    assert starts(committed(log)) == [0, 90]


def test_spans_of_different_channels_do_not_overlap(log: str) -> None:
    commit(log, result_of(0, None, 0, 2), result_of(0, 60, 1, 2))
    assert [result.start for result in committed(log)] == [SpanStart(0, 0), SpanStart(1, 0)]


@pytest.mark.parametrize(
    ("start_s", "stop_s", "expected"),
    [(0, None, [0, 60, 120]), (0, 60, [0]), (60, 120, [60]), (60, None, [60, 120]), (61, 119, [])],
)
def test_a_span_belongs_to_the_range_that_it_starts_in(
    start_s: int, stop_s: int | None, expected: list[int]
) -> None:
    span = replace(SPAN, start_s=start_s, stop_s=stop_s)
    assert [one for one in (0, 60, 120) if is_in_range(SpanStart(0, one), span)] == expected


def test_the_history_has_finished_ranges_attempts_and_channels(log: str) -> None:
    commit(log, result_of(0, 30, 0, 2), result_of(60, 90, 1, 2))
    unit = history(log)
    assert unit.done == ((0, (0, 30)), (1, (60, 90)))
    assert unit.attempts == {KEY: 2, f"{KEY}/1/60": 2}
    assert (unit.n_tracks, unit.n_crashes) == (2, 0)


def test_work_that_was_started_and_neither_committed_nor_released_is_a_crash(log: str) -> None:
    start(log, n_times=2)
    assert history(log).n_crashes == 2


def test_work_that_was_released_is_no_crash(log: str) -> None:
    start(log, n_times=9, release=True)
    assert history(log) == UNIT


def test_crashes_of_a_span_that_is_committed_now_are_attributed_to_no_other(log: str) -> None:
    start(log, n_times=5)
    commit(log, result_of(0, 60))
    assert history(log).n_crashes == 0


def test_crashes_are_those_of_the_span_that_crashed_most_often(log: str) -> None:
    commit(log, result_of(0, 60))
    start(log, span_key(KEY, SpanStart(0, 60)), 3)
    start(log, span_key(KEY, SpanStart(0, 120)), 1)
    assert history(log).n_crashes == 3


def test_crashes_are_attributed_to_the_range_that_the_span_starts_in(log: str) -> None:
    start(log, span_key(KEY, SpanStart(0, 60)), 3)
    for start_s, stop_s, expected in ((0, 60, 0), (60, 120, 3), (120, None, 0)):
        assert history(log, replace(SPAN, start_s=start_s, stop_s=stop_s)).n_crashes == expected


def test_a_unit_is_complete_when_no_range_of_any_channel_is_missing() -> None:
    first, second = (0, (0, None)), (1, (0, 60))
    assert not is_complete(UNIT)
    assert not is_complete(replace(UNIT, done=((0, (0, 60)),)))
    assert is_complete(replace(UNIT, done=(first,)))
    assert is_complete(replace(UNIT, done=((0, (0, 60)),), span=replace(SPAN, stop_s=60)))
    split = replace(UNIT, span=replace(SPAN, split=True), n_tracks=2)
    assert not is_complete(replace(split, done=(first, second)))
    assert is_complete(replace(split, done=(first, second, (1, (60, None)))))
    assert not is_complete(replace(split, done=(first,), span=replace(SPAN, all_streams=True)))
    assert is_complete(replace(split, done=(first, second), span=SPAN))  # without split there is one channel
