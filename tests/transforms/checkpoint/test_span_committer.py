from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from transforms.checkpoint.commit_log import LogWriter, read_index, release_all_writers
from transforms.checkpoint.isolation import SharedExclusiveLock
from transforms.checkpoint.span_committer import SpanCommitter
from transforms.checkpoint.spans import SpanEnded, SpanResult, SpanStarted
from transforms.core.types import AudioSource, Failure, RecordingPart, WindowTranscript

WINDOW = WindowTranscript("id", 0, 0.0, 1.0, (), "en")
PART = RecordingPart(AudioSource("id", ""), n_windows=1)
FAILURE = Failure("id", "u", "transcribe", "model_error", "x")


@pytest.fixture
def lock() -> SharedExclusiveLock:
    return SharedExclusiveLock()


@pytest.fixture(autouse=True)
def _release() -> Iterator[None]:
    yield
    release_all_writers()


def no_check() -> None:
    pass


def committer_of(log: Path | None, lock: SharedExclusiveLock) -> SpanCommitter:
    return SpanCommitter(None if log is None else str(log), lock, no_check)


def started(key: str = "key", *, exclusive: bool = False) -> SpanStarted:
    return SpanStarted(key, exclusive=exclusive)


def read_span(spans: SpanCommitter, name: str = "a", key: str = "key", *, exclusive: bool = False) -> bool:
    """The events of a span with one window, which is not finished."""
    spans.start(name, started(key, exclusive=exclusive))
    spans.add_window(name)
    spans.add(name, PART)
    return spans.end(name, SpanEnded())


def n_crashed(log: Path, key: str = "key") -> int:
    return read_index(str(log)).n_crashed[key]


def test_a_span_is_in_the_log_before_its_result_is_returned(
    tmp_path: Path, lock: SharedExclusiveLock
) -> None:
    spans = committer_of(tmp_path, lock)
    read_span(spans)
    assert spans.commit_finished() == []
    assert (n_crashed(tmp_path), len(read_index(str(tmp_path)))) == (1, 0)
    spans.finish_window("a", WINDOW, [FAILURE], {"windows": 1})
    (result,) = spans.commit_finished()
    assert result == SpanResult(
        "key", windows=(WINDOW,), parts=(PART,), failures=(FAILURE,), counts={"windows": 1}
    )
    record = read_index(str(tmp_path)).read("key")
    assert [window["audio_id"] for window in record["windows"]] == ["id"]
    assert n_crashed(tmp_path) == 0
    assert spans.commit_finished() == []
    spans.close()


def test_without_a_log_results_are_returned_and_nothing_is_isolated(lock: SharedExclusiveLock) -> None:
    spans = committer_of(None, lock)
    assert not spans.must_finish_before(started(exclusive=True))
    assert read_span(spans, exclusive=True)
    lock.acquire(lock, exclusive=True, check=pytest.fail)  # no one holds it
    spans.finish_window("a", WINDOW, [], {})
    assert [result.key for result in spans.commit_finished()] == ["key"]
    spans.close()


def test_abandoned_spans_are_released_and_dropped(tmp_path: Path, lock: SharedExclusiveLock) -> None:
    spans = committer_of(tmp_path, lock)
    read_span(spans)
    spans.abandon()
    assert (n_crashed(tmp_path), len(read_index(str(tmp_path)))) == (0, 0)
    assert spans.commit_finished() == []
    lock.acquire(lock, exclusive=True, check=pytest.fail)
    lock.release(lock)
    read_span(spans)  # it can be used again
    spans.finish_window("a", WINDOW, [], {})
    assert len(spans.commit_finished()) == 1
    spans.close()


def test_closing_releases_pending_spans(tmp_path: Path, lock: SharedExclusiveLock) -> None:
    spans = committer_of(tmp_path, lock)
    read_span(spans)
    spans.close()
    assert n_crashed(tmp_path) == 0


def test_a_recording_that_is_named_twice_starts_once(tmp_path: Path, lock: SharedExclusiveLock) -> None:
    spans = committer_of(tmp_path, lock)
    for name in "abc":
        read_span(spans, name)
    assert n_crashed(tmp_path) == 1
    spans.close()
    assert n_crashed(tmp_path) == 0


def test_spans_that_cannot_be_committed_are_released(
    tmp_path: Path, lock: SharedExclusiveLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: LogWriter, results: object) -> None:
        raise OSError("No space left on device")

    spans = committer_of(tmp_path, lock)
    read_span(spans, "a", "one")
    read_span(spans, "b", "other")
    spans.finish_window("a", WINDOW, [], {})
    monkeypatch.setattr(LogWriter, "commit", full)
    with pytest.raises(OSError, match="No space left"):
        spans.commit_finished()
    assert (n_crashed(tmp_path, "one"), n_crashed(tmp_path, "other")) == (0, 1)
    spans.close()


def test_an_exclusive_span_must_wait_for_the_pending_ones(tmp_path: Path, lock: SharedExclusiveLock) -> None:
    spans = committer_of(tmp_path, lock)
    read_span(spans)
    assert not spans.must_finish_before(started("other"))
    assert spans.must_finish_before(started("other", exclusive=True))
    spans.close()


def test_all_spans_must_be_finished_when_another_thread_wants_to_be_exclusive(
    tmp_path: Path, lock: SharedExclusiveLock
) -> None:
    spans, suspect = committer_of(tmp_path, lock), Event()
    read_span(spans)
    waits = Event()

    def crash_suspect() -> None:
        exclusive = SpanCommitter(str(tmp_path), lock, waits.set)
        assert read_span(exclusive, "b", "suspect", exclusive=True)
        suspect.set()
        exclusive.close()

    thread = Thread(target=crash_suspect, daemon=True)
    thread.start()
    assert waits.wait(30)
    assert spans.must_finish_before(started("other"))
    assert n_crashed(tmp_path, "suspect") == 0  # it has not started
    spans.finish_window("a", WINDOW, [], {})
    spans.commit_finished()
    assert not suspect.is_set()
    spans.release_lock()
    assert suspect.wait(30)
    thread.join(30)
    assert not spans.must_finish_before(started("other"))
    spans.close()


def test_nothing_starts_when_the_check_raises_while_the_lock_is_waited_for(
    tmp_path: Path, lock: SharedExclusiveLock
) -> None:
    def stop() -> None:
        raise InterruptedError("stop")

    lock.acquire(lock, exclusive=True, check=no_check)
    spans = SpanCommitter(str(tmp_path), lock, stop)
    with pytest.raises(InterruptedError):
        spans.start("a", started())
    assert n_crashed(tmp_path) == 0
    spans.close()


def test_a_committer_that_was_garbage_collected_holds_no_lock(
    tmp_path: Path, lock: SharedExclusiveLock
) -> None:
    spans = committer_of(tmp_path, lock)
    read_span(spans)
    del spans
    gc.collect()
    lock.acquire(lock, exclusive=True, check=pytest.fail)
