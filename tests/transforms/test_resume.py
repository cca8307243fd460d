from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from transforms import resume
from transforms.commit_log import LogWriter
from transforms.progress import PROGRESS
from transforms.read import FAILURES, RECORDINGS, UNITS
from transforms.resume import Resuming, SkipDone, outputs_of
from transforms.types import AudioSource, AudioSpan, Failure, Recording, WindowTranscript
from transforms.units import SpanResult, Unit, to_record, unit_key

SPAN = AudioSpan(AudioSource("id", "/a.wav"))
KEY = unit_key(SPAN)
WINDOW = WindowTranscript("id", 0, 0.0, 9.0, (), "en")
RECORDING = Recording(SPAN.source, 9.0, 1)
FAILURE = Failure("id", "/a.wav", "decode", "truncated", "cut")
DONE = SpanResult(KEY, (WINDOW,), (RECORDING,), counts={"windows": 1})


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
    assert outcome(log) == [("windows", ("id", WINDOW)), (RECORDINGS, ("id", RECORDING))]
    assert (counted["windows"], counted["resumed"], counted["resumed_ms"]) == (1, 1, 9000)
    tally = PROGRESS.tally()
    assert (tally.recordings, tally.resumed, tally.audio_s) == (1, 1, 9.0)


def test_a_second_look_that_is_done_counts_as_no_recording(log: str, counted: dict[str, int]) -> None:
    span = AudioSpan(SPAN.source, "en", frozenset({0}))
    put(log, SpanResult(unit_key(span), (WINDOW,)))
    PROGRESS.reset()
    assert outcome(log, span) == [("windows", ("id", WINDOW))]
    assert "resumed" not in counted
    assert PROGRESS.tally().recordings == 0


def test_failures_are_done_again_only_when_that_is_asked_for(log: str) -> None:
    put(log, SpanResult(KEY, failures=(FAILURE,)))
    assert outcome(log) == [(FAILURES, FAILURE)]
    assert outcome(log, retry_failed=True) == [(UNITS, Unit(KEY, SPAN, 2))]  # beside others
    put(log, SpanResult(KEY, (WINDOW,), (RECORDING,), attempt=2))
    assert [tag for tag, _ in outcome(log, retry_failed=True)] == ["windows", RECORDINGS]


@pytest.mark.parametrize(
    "failure", [replace(FAILURE, retryable=True), replace(FAILURE, kind="forbidden_host")]
)
def test_what_may_have_passed_or_been_lifted_since_is_done_again(log: str, failure: Failure) -> None:
    put(log, SpanResult(KEY, failures=(failure,)))
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN, 2))]


def test_what_was_begun_and_never_ended_is_given_up_the_fourth_time(log: str) -> None:
    for n_deaths in (1, 2):
        put(log)
        assert outcome(log) == [(UNITS, Unit(KEY, SPAN, 1, n_deaths))]
    put(log)
    ((tag, failure),) = outcome(log)
    assert (tag, failure.kind) == (FAILURES, "quarantined")
    assert outcome(log, retry_failed=True) == [(UNITS, Unit(KEY, SPAN, 1, 3))]


def test_what_was_left_for_another_reason_is_no_attempt(log: str) -> None:
    put(log, n_open=9, n_left=9)
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN))]


def test_a_record_of_another_version_is_done_again(log: str) -> None:
    writer = LogWriter(log)
    writer.begin([KEY])
    writer.commit([(KEY, {"windows": "nothing that is known"})])
    writer.close()
    assert outcome(log) == [(UNITS, Unit(KEY, SPAN, 2))]


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
    result = SpanResult(KEY, (WINDOW,), (RECORDING,), (FAILURE,))
    tags = [one.tag if isinstance(one, TaggedOutput) else "windows" for one in outputs_of(result)]
    assert tags == ["windows", RECORDINGS, FAILURES]
