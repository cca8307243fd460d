from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import SAMPLE_RATE
from transforms.checkpoint import resume
from transforms.checkpoint.commit_log import LogWriter
from transforms.checkpoint.resume import Resuming
from transforms.checkpoint.spans import SpanResult, Unit, span_key, to_record, unit_key
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, WindowTranscript
from transforms.dofns.skip_done import SkipDone, outputs_of
from transforms.dofns.tags import FAILURES, PARTS, UNITS

SPAN = AudioSpan(AudioSource("id", "/a.wav"))
KEY = unit_key(SPAN)
WINDOW = WindowTranscript("id", 0, 0.0, 9.0, (), "en")
PART = RecordingPart(SPAN.source, n_windows=1, n_samples=9 * 16_000)
FAILURE = Failure("id", "/a.wav", "decode", "truncated", "cut")
DONE = SpanResult(KEY, windows=(WINDOW,), parts=(PART,), counts={"windows": 1})


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    counts: dict[str, int] = {}

    def count(name: str, n: int = 1) -> None:
        counts[name] = counts.get(name, 0) + n

    monkeypatch.setattr(resume, "count", count)
    return counts


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def outcome(log: str, span: AudioSpan = SPAN, *, retry_failed: bool = False) -> list[tuple[str, Any]]:
    """What comes out of it, with where."""
    do_fn = SkipDone(Resuming(log, retry_failed), Shared())
    do_fn.setup()
    return [
        (one.tag, one.value) if isinstance(one, TaggedOutput) else ("windows", one)
        for one in do_fn.process(span)
    ]


def put(log: str, result: SpanResult | None = None, n_open: int = 1, n_left: int = 0) -> None:
    writer = LogWriter(log)
    for _ in range(n_open):
        writer.begin([KEY])
    for _ in range(n_left):
        writer.leave([KEY])
    if result is not None:
        writer.commit([(result.key, to_record(result))])
    writer.close()


def test_what_is_not_done_is_given_on(log: str) -> None:
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN))]
    without = SkipDone(None, Shared())
    without.setup()
    assert [output.value for output in without.process(SPAN)] == [Unit(KEY, SPAN)]


def test_what_is_done_is_given_as_it_came_out_and_counted(log: str, counted: dict[str, int]) -> None:
    put(log, DONE)
    PROGRESS.reset()
    assert outcome(log) == [("windows", ("id", WINDOW)), (PARTS, ("id", PART))]
    assert (counted["windows"], counted["resumed"]) == (1, 1)
    tally = PROGRESS.tally()
    assert (tally.recordings, tally.resumed, tally.audio_s) == (1, 1, 9.0)


def test_a_second_look_that_is_done_counts_as_no_recording(log: str, counted: dict[str, int]) -> None:
    span = AudioSpan(SPAN.source, "en", frozenset({0}))
    put(log, SpanResult(unit_key(span), windows=(WINDOW,)))
    PROGRESS.reset()
    assert outcome(log, span) == [("windows", ("id", WINDOW))]
    assert "resumed" not in counted
    assert PROGRESS.tally().recordings == 0


def test_failures_are_done_again_only_when_that_is_asked_for(log: str) -> None:
    put(log, SpanResult(KEY, failures=(FAILURE,)))
    assert outcome(log) == [(FAILURES, FAILURE)]
    assert outcome(log, retry_failed=True) == [(UNITS, Unit(KEY, SPAN, attempts={KEY: 2}))]  # beside others
    put(log, SpanResult(KEY, windows=(WINDOW,), parts=(PART,), attempt=2))
    assert [tag for tag, _ in outcome(log, retry_failed=True)] == ["windows", PARTS]


@pytest.mark.parametrize(
    "failure", [replace(FAILURE, retryable=True), replace(FAILURE, kind="forbidden_host")]
)
def test_what_may_have_passed_or_been_lifted_since_is_done_again(log: str, failure: Failure) -> None:
    put(log, SpanResult(KEY, failures=(failure,)))
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN, attempts={KEY: 2}))]


def test_what_was_begun_and_never_ended_is_given_up_the_fourth_time(log: str) -> None:
    for n_deaths in (1, 2):
        put(log)
        assert outcome(log) == [(UNITS, Unit(KEY, SPAN, n_deaths=n_deaths))]
    put(log)
    ((tag, failure),) = outcome(log)
    assert (tag, failure.kind) == (FAILURES, "quarantined")
    assert outcome(log, retry_failed=True) == [(UNITS, Unit(KEY, SPAN, n_deaths=3))]


def test_what_was_left_for_another_reason_is_no_attempt(log: str) -> None:
    put(log, n_open=9, n_left=9)
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN))]


def test_a_record_of_another_version_is_done_again(log: str) -> None:
    writer = LogWriter(log)
    writer.begin([KEY])
    writer.commit([(KEY, {"windows": "nothing that is known"})])
    writer.close()
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN, attempts={KEY: 2}))]


def test_a_process_reads_the_log_once(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(log, DONE)
    read: list[str] = []
    original = resume.read_index
    monkeypatch.setattr(resume, "read_index", lambda url: read.append(url) or original(url))
    shared = Shared()
    do_fns = [SkipDone(Resuming(log), shared) for _ in range(3)]
    for do_fn in do_fns:
        do_fn.setup()
    assert read == [log]


def test_everything_of_a_result_comes_out() -> None:
    result = SpanResult(KEY, windows=(WINDOW,), parts=(PART,), failures=(FAILURE,))
    tags = [one.tag if isinstance(one, TaggedOutput) else "windows" for one in outputs_of(result)]
    assert tags == ["windows", PARTS, FAILURES]


def span_done(start_s: int, stop_s: int | None, channel: int = 0, n_channels: int = 1) -> SpanResult:
    """A part of the recording, with a window of its own."""
    place = (channel, start_s)
    part = replace(PART, start_s=start_s, stop_s=stop_s, n_samples=None if stop_s else 200 * SAMPLE_RATE)
    window = replace(WINDOW, index=start_s)
    return SpanResult(span_key(KEY, place), place, stop_s, n_channels, (window,), (part,))


def test_spans_that_are_missing_are_done_and_the_others_given(log: str, counted: dict[str, int]) -> None:
    for result in (span_done(60, 90), span_done(0, 30)):
        put(log, result, n_open=0)
    *given, (tag, unit) = outcome(log)
    assert [value[1].index for at, value in given if at == "windows"] == [0, 60]
    assert [value[1].start_s for at, value in given if at == PARTS] == [0, 60]
    assert tag == UNITS
    assert list(itertools.islice(unit.missing(0, 30), 3)) == [(30, 60), (90, 120), (120, 150)]
    assert unit.attempts == {KEY: 2, f"{KEY}/0/60": 2}
    assert "resumed" not in counted
    put(log, span_done(30, 60), n_open=0)
    put(log, span_done(90, None), n_open=0)
    assert [tag for tag, _ in outcome(log)] == ["windows", PARTS] * 4
    assert counted["resumed"] == 1


def test_spans_of_another_length_that_overlap_are_given_once(log: str) -> None:
    for result in (span_done(0, 90), span_done(60, 120), span_done(90, None)):
        put(log, result, n_open=0)
    assert [value[1].start_s for tag, value in outcome(log) if tag == PARTS] == [0, 90]


def test_who_reads_a_range_gives_what_begins_in_it(log: str) -> None:
    for result in (span_done(0, 90), span_done(90, None)):
        put(log, result, n_open=0)
    ranges = [(0, 60), (60, 120), (120, None)]
    spans = [replace(SPAN, start_s=start_s, stop_s=stop_s) for start_s, stop_s in ranges]
    given = [[value[1].start_s for tag, value in outcome(log, span) if tag == PARTS] for span in spans]
    assert given == [[0], [90], []]
    assert all(tag != UNITS for span in spans for tag, _ in outcome(log, span))


def test_channels_are_missing_one_by_one(log: str) -> None:
    split = replace(SPAN, split=True)
    key = unit_key(split)
    for channel, stop_s in ((0, None), (1, 60)):
        result = span_done(0, stop_s, channel, 2)
        put(log, replace(result, key=span_key(key, (channel, 0))), n_open=0)
    tag, unit = outcome(log, split)[-1]
    assert tag == UNITS
    assert list(unit.missing(0, 60)) == []
    assert next(unit.missing(1, 60)) == (60, 120)
    put(log, replace(span_done(60, None, 1, 2), key=span_key(key, (1, 60))), n_open=0)
    assert outcome(log, split)[-1][0] != UNITS


def test_the_death_of_any_span_counts_for_its_recording(log: str) -> None:
    put(log, span_done(0, 60), n_open=0)
    writer = LogWriter(log)
    for _ in range(3):
        writer.begin([span_key(KEY, (0, 60))])
    writer.close()
    *_, (tag, failure) = outcome(log)
    assert (tag, failure.kind, failure.attempts) == (FAILURES, "quarantined", 3)


def test_the_deaths_of_a_span_that_is_done_now_are_held_against_no_other(log: str) -> None:
    put(log, span_done(0, 60), n_open=4)
    *_, (tag, unit) = outcome(log)
    assert (tag, unit.n_deaths) == (UNITS, 0)


def test_a_range_that_another_process_works_on_has_killed_nobody(log: str) -> None:
    writer = LogWriter(log)
    for _ in range(3):
        writer.begin([span_key(KEY, (0, 60))])
    writer.close()
    for start_s, stop_s in ((0, 60), (120, None)):
        ((tag, unit),) = outcome(log, replace(SPAN, start_s=start_s, stop_s=stop_s))
        assert (tag, unit.n_deaths) == (UNITS, 0)
    ((tag, failure),) = outcome(log, replace(SPAN, start_s=60, stop_s=120))
    assert (tag, failure.kind) == (FAILURES, "quarantined")


def test_a_shared_recording_was_done_before_when_all_its_ranges_were(
    log: str, counted: dict[str, int]
) -> None:
    spans = [replace(SPAN, stop_s=60), replace(SPAN, start_s=60)]
    put(log, span_done(0, 60), n_open=0)
    PROGRESS.reset()
    assert [tag for span in spans for tag, _ in outcome(log, span)] == ["windows", PARTS, UNITS]
    assert (counted.get("resumed", 0), PROGRESS.tally().recordings, PROGRESS.tally().resumed) == (0, 1, 0)
    put(log, span_done(60, None), n_open=0)
    PROGRESS.reset()
    assert [tag for span in spans for tag, _ in outcome(log, span)] == ["windows", PARTS] * 2
    assert (counted["resumed"], PROGRESS.tally().recordings, PROGRESS.tally().resumed) == (1, 1, 1)
