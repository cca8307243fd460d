from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from time import sleep

import pytest
from apache_beam.utils.shared import Shared

from model.interface import Request, WindowResult
from tests.support.bundles import do_fn_of, finished, processed, recordings
from tests.support.fake_transcribers import (
    FakeTranscriber,
)
from transforms.checkpoint.commit_log import read_index, release_all_writers
from transforms.dofns import transcribe


def test_a_span_is_committed_before_it_is_emitted(tmp_path: Path) -> None:
    model = FakeTranscriber()
    do_fn = do_fn_of(model, log=tmp_path)
    do_fn.start_bundle()
    model.gate.clear()
    assert processed(do_fn, recordings(1)) == []
    index = read_index(str(tmp_path))
    assert (index.n_crashed["key of id1"], len(index)) == (1, 0)
    outputs = do_fn.finish_bundle()
    model.gate.set()
    next(outputs)
    assert [one["audio_id"] for one in read_index(str(tmp_path)).read("key of id1")["windows"]] == ["id1"]
    assert list(outputs) == []
    do_fn.teardown()


def test_started_spans_are_released_when_the_bundle_is_given_up(tmp_path: Path) -> None:
    model = FakeTranscriber()
    do_fn = do_fn_of(model, log=tmp_path)
    do_fn.start_bundle()
    model.gate.clear()
    processed(do_fn, recordings(1))
    do_fn.teardown()
    model.gate.set()
    index = read_index(str(tmp_path))
    assert (index.n_crashed["key of id1"], len(index)) == (0, 0)


def test_a_recording_that_is_named_twice_starts_once(tmp_path: Path) -> None:
    model = FakeTranscriber()
    do_fn = do_fn_of(model, log=tmp_path)
    do_fn.start_bundle()
    model.gate.clear()
    processed(do_fn, recordings(1, 1, 1))
    assert read_index(str(tmp_path)).n_crashed["key of id1"] == 1
    do_fn.teardown()
    model.gate.set()
    assert read_index(str(tmp_path)).n_crashed["key of id1"] == 0


def test_an_exclusive_span_is_transcribed_alone(tmp_path: Path) -> None:
    model = FakeTranscriber()
    do_fn = do_fn_of(model, log=tmp_path)
    do_fn.start_bundle()
    model.gate.clear()
    assert processed(do_fn, recordings(1, 2)) == []
    model.gate.set()
    suspect = processed(do_fn, recordings(3), exclusive=True)
    # Those before it first, and then itself; the first two may have shared a call.
    assert [sorted(key for key, _ in suspect[:2]), suspect[2][0]] == [["id1", "id2"], "id3"]
    assert model.calls in ([2, 1], [1, 1, 1])
    model.gate.clear()
    assert processed(do_fn, recordings(4)) == []
    model.gate.set()
    assert [key for key, _ in finished(do_fn)] == ["id4"]
    do_fn.teardown()


class LoggedTranscriber(FakeTranscriber):
    """Records in each call which spans the log has as started."""

    def __init__(self, log: Path) -> None:
        super().__init__(batch_size=1)
        self.log = str(log)
        self.spans: list[tuple[int, set[str]]] = []

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        sleep(0.01)
        started = +read_index(self.log).n_crashed
        self.spans.append((round(requests[0].samples[0] * 1000), set(started)))
        return super().transcribe(requests)


def test_an_exclusive_span_is_alone_among_the_bundles_of_all_threads(tmp_path: Path) -> None:
    shared, model, start = Shared(), LoggedTranscriber(tmp_path), Barrier(3)

    def work(first: int) -> int:
        do_fn = do_fn_of(model, shared, log=tmp_path)
        do_fn.start_bundle()
        start.wait(30)
        n_outputs = 0
        for number in range(first, first + 12):
            n_outputs += len(processed(do_fn, recordings(number), exclusive=number % 10 == 5))
        n_outputs += len(finished(do_fn))
        do_fn.teardown()
        return n_outputs

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, (0, 20, 40))) == [12, 12, 12]
    beside = {number: keys for number, keys in model.spans if number % 10 == 5}
    assert beside == {number: {f"key of id{number}"} for number in (5, 25, 45)}
    assert any(len(keys) > 1 for _, keys in model.spans)


def test_a_bundle_that_was_garbage_collected_holds_no_lock(tmp_path: Path) -> None:
    do_fn = do_fn_of(FakeTranscriber(), log=tmp_path)
    do_fn.start_bundle()
    processed(do_fn, recordings(1))
    del do_fn
    gc.collect()
    suspect = do_fn_of(FakeTranscriber())
    transcribe.PROCESS_LOCK.acquire(suspect, exclusive=True, check=pytest.fail)
    transcribe.PROCESS_LOCK.release(suspect)
    release_all_writers()
