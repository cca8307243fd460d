from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from transforms.listener import Listener
from transforms.speech import whole_intervals


class Ones:
    """Takes all chunks for speech from chunk 100 to 200, whatever the samples are."""

    def __init__(self) -> None:
        self.n_samples = 0
        self.n_given = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        self.n_samples += len(samples)
        first, self.n_given = self.n_given, self.n_samples // SPEECH_CHUNK
        return np.array([100 <= n < 200 for n in range(first, self.n_given)], np.float32)

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(int(self.n_samples > self.n_given * SPEECH_CHUNK), np.float32)


def listened(n_samples: int, block: int) -> Listener:
    listener = Listener(Ones)
    samples = np.zeros(n_samples, np.float32)
    for start in range(0, n_samples, block):
        listener.hear(samples[start : start + block])
    listener.finish()
    return listener


def test_windows_know_their_part_of_the_speech_on_and_off_the_grid_of_chunks() -> None:
    listener = listened(10 * SAMPLE_RATE, 7_777)
    ((start, stop),) = listener.speech(0, 10 * SAMPLE_RATE) or ()
    assert start <= 100 * SPEECH_CHUNK < 200 * SPEECH_CHUNK <= stop
    for first in (40_000, 51_200, 51_201, 90_000):
        ((begin, end),) = listener.speech(first, 20_000) or ()
        assert 0 <= begin < end <= 20_000
        assert begin == pytest.approx(max(start - first, 0), abs=SPEECH_CHUNK)
        assert end == min(stop - first, 20_000) or end == pytest.approx(stop - first, abs=SPEECH_CHUNK)
    assert listener.speech(0, 20_000) == ()
    assert listener.speech(130_000, 30_000) == ()


def test_seconds_of_speech() -> None:
    listener = listened(10 * SAMPLE_RATE, SAMPLE_RATE)
    assert listener.speech_s() == pytest.approx(100 * SPEECH_CHUNK / SAMPLE_RATE, abs=1.0)
    assert listened(20_000, 20_000).speech_s() == 0.0
    assert listened(0, 1).speech_s() == 0.0


def test_who_does_not_listen_knows_nothing() -> None:
    listener = Listener(None)
    assert listener.hear(np.zeros(5, np.float32)) == listener.finish() == []
    assert listener.speech(0, 5) is None
    assert listener.speech_s() is None


def test_speech_is_given_as_soon_as_it_is_sure_and_never_before_what_was_settled() -> None:
    listener, given = Listener(Ones), []
    for _ in range(10):
        settled = listener.settled
        parts = listener.hear(np.zeros(SAMPLE_RATE, np.float32))
        assert all(part.start >= settled for part in parts)
        given += parts
    assert listener.settled > 8 * SAMPLE_RATE
    assert [(whole.start, whole.stop) for whole in whole_intervals(given)] == list(
        listened(10 * SAMPLE_RATE, SAMPLE_RATE).speech(0, 10 * SAMPLE_RATE) or ()
    )
    assert listener.finish() == []


def test_what_is_forgotten_changes_nothing_behind_it() -> None:
    listener, other = listened(10 * SAMPLE_RATE, 30_000), listened(10 * SAMPLE_RATE, 30_000)
    for before in (0, 51_300, 51_000, 60_000):
        other.forget(before)
    assert other.speech(60_000, 50_000) == listener.speech(60_000, 50_000) != ()
    assert other.speech_s() == listener.speech_s()
