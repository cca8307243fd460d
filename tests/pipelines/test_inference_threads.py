"""`pipelines.inference`: progress, cancelling, and threads that share a model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE
from pipelines.inference import CancelledError, Inference
from tests.support.inference_backends import Observed
from tests.support.tone_backend import REQUESTS, TONES, expected_text, tone, write_sparse, write_talk


def n_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_progress_grows_up_to_the_duration(inference: Inference, tmp_path: Path) -> None:
    sparse = write_sparse(tmp_path / "sparse.wav", (3, 9), (50, 70))
    for path in (write_talk(tmp_path / "a.wav", 95), sparse, write_sparse(tmp_path / "silent.wav")):
        for given in ({}, {"language": "en"}, {"windows": "grid"}):
            read: list[float] = []
            result = inference(path, on_progress=read.append, **given)  # type: ignore[arg-type]
            assert read == sorted(set(read))
            assert read[-1] == pytest.approx(result["duration"], abs=1e-9)


def test_an_exception_of_a_callback_is_raised_as_it_is(inference: Inference, talk: Path) -> None:
    n_open = n_files()

    def broken(read_s: float) -> None:
        raise ZeroDivisionError(f"at {read_s:g}")

    with pytest.raises(ZeroDivisionError, match="at ") as caught:
        inference(talk, on_progress=broken)
    assert caught.value.__cause__ is None
    assert n_files() == n_open
    assert inference(talk)["text"] == expected_text("en", 100)


def test_what_is_cancelled_before_it_begins_is_not_read(inference: Inference, talk: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledError):
        inference(talk, cancelled=cancelled)
    assert REQUESTS == []


def test_cancelling_ends_a_call_that_waits_for_the_model(observed: Observed, talk: Path) -> None:
    cancelled, n_open = threading.Event(), n_files()
    observed.gate.clear()
    with Inference("m", backend=observed.backend(), batch_size=1) as inference:
        timer = threading.Thread(target=lambda: (observed.entered.acquire(), cancelled.set()))
        timer.start()
        started = monotonic()
        with pytest.raises(CancelledError):
            inference(talk, cancelled=cancelled)
        assert monotonic() - started < 10  # the model is held up for 30
        timer.join()
        n_decoded = observed.n_windows
        observed.gate.set()
        assert inference((tone(1), SAMPLE_RATE))["text"] == "en1"
        assert observed.n_windows == n_decoded + 1 <= 3
    assert n_files() == n_open


class CancelledWhileReading(threading.Event):
    """Is set by one of the checks for it, of which each hour of a recording has a hundred or more."""

    at_check = 50
    n_checks = 0

    def is_set(self) -> bool:
        self.n_checks += 1
        if self.n_checks == self.at_check:
            self.set()
        return super().is_set()


@pytest.mark.parametrize("channels", ["mix", "5"])
def test_cancelling_ends_the_reading_of_hours_of_silence(
    inference: Inference, tmp_path: Path, channels: str
) -> None:
    """Also where the channel does not exist, which is known only at the end."""
    path = tmp_path / "silence.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(8):
            file.write(np.zeros(3600 * SAMPLE_RATE, np.int16))
    cancelled = CancelledWhileReading()
    with pytest.raises(CancelledError):
        inference(path, cancelled=cancelled, channels=channels)
    assert cancelled.n_checks < 2 * cancelled.at_check


def test_threads_share_batches(observed: Observed, tmp_path: Path) -> None:
    paths = [write_talk(tmp_path / f"{seconds}.wav", seconds) for seconds in range(3, 11)]
    texts: dict[Path, str] = {}
    observed.gate.clear()
    with Inference("m", backend=observed.backend(), batch_size=8, parallel_batches=1) as inference:
        threads = [
            threading.Thread(target=lambda path=path: texts.update({path: inference(path)["text"]}))
            for path in paths
        ]
        for thread in threads:
            thread.start()
        open_gate(observed, lambda: observed.n_windows + n_waiting(inference) >= 8)
        for thread in threads:
            thread.join()
    assert [texts[path] for path in paths] == [expected_text("en", seconds) for seconds in range(3, 11)]
    assert observed.n_windows == 8
    assert len(observed.sizes) <= 2  # the first one, and those that waited for it


def open_gate(observed: Observed, is_ready: Callable[[], bool]) -> None:
    """Lets the model go on once enough windows were submitted."""
    deadline = monotonic() + 30
    while not is_ready() and monotonic() < deadline:
        sleep(0.01)
    observed.gate.set()


def n_waiting(inference: Inference) -> int:
    """The number of windows that no lane has taken yet."""
    return sum(client._n_queued for client in list(inference._model._scheduler._turns))


def test_a_call_may_take_fewer_windows_of_a_batch(observed: Observed, tmp_path: Path) -> None:
    talk = write_talk(tmp_path / "talk.wav", 200)
    largest: dict[int, int] = {}
    with Inference("m", backend=observed.backend(), batch_size=4, parallel_batches=1) as inference:
        for n_windows in (1, 100):
            observed.sizes.clear()
            observed.gate.clear()
            opening = threading.Thread(target=open_gate, args=(observed, lambda: n_waiting(inference) >= 4))
            opening.start()
            inference(talk, batch_size=n_windows, language="en")
            opening.join()
            largest[n_windows] = max(observed.sizes)
    assert largest == {1: 1, 100: 4}


def test_no_thread_is_left_once_it_is_closed(talk: Path) -> None:
    n_threads = threading.active_count()
    with Inference("m", backend=TONES) as inference:
        inference(talk)
        assert threading.active_count() > n_threads
    assert threading.active_count() == n_threads
