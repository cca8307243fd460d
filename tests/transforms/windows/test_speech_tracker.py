from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.detectors import SlowToHear
from transforms.core.sections import Chapters
from transforms.windows.speech_intervals import SpeechPart, whole_intervals
from transforms.windows.speech_tracker import Listener


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


def test_how_much_speech_there_is() -> None:
    listener = listened(10 * SAMPLE_RATE, SAMPLE_RATE)
    assert listener.spoken(0, None) == pytest.approx(100 * SPEECH_CHUNK, abs=SAMPLE_RATE)
    assert listener.spoken(0, 30) == listener.spoken(0, None)
    assert listener.spoken(30, None) == 0
    assert listened(20_000, 20_000).spoken(0, None) == 0
    assert listened(0, 1).spoken(0, None) == 0


def test_who_does_not_listen_knows_nothing() -> None:
    listener = Listener(None)
    assert listener.hear(np.zeros(5, np.float32)) == listener.finish() == []
    assert listener.settled == 5
    assert listener.speech(0, 5) is None
    assert listener.spoken(0, None) is None


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
    assert other.spoken(0, None) == listener.spoken(0, None)


CHAPTERS = Chapters(120)
ANEW = CHAPTERS.heard_from_s(1) * SAMPLE_RATE  # where hearing begins anew for the second chapter


def spoken_at(*seconds: tuple[float, float], length_s: float = 200) -> Samples:
    samples = np.zeros(round(length_s * SAMPLE_RATE), np.float32)
    for start_s, stop_s in seconds:
        samples[round(start_s * SAMPLE_RATE) : round(stop_s * SAMPLE_RATE)] = 0.5
    return samples


def heard(samples: Samples, block: int, first: int = 0) -> list[SpeechPart]:
    """All parts of speech, of a listener that begins with a chapter."""
    listener = Listener(SlowToHear, CHAPTERS, first)
    given = []
    for start in range(CHAPTERS.heard_from_s(first) * SAMPLE_RATE, len(samples), block):
        given += listener.hear(samples[start : start + block])
    return given + listener.finish()


@pytest.mark.parametrize(
    "seconds",
    [
        [(1, 2), (50, 70), (100, 110)], [(59.7, 80)], [(30, 59.9), (60.3, 61)], [(30, 59.2), (60.9, 63)],
        [(10, 199)], [(59.9, 60.1)], [], [(0, 58), (62, 63), (118, 122), (179, 181)],
    ],
)  # fmt: skip
def test_what_is_heard_of_a_chapter_does_not_depend_on_where_hearing_began(
    seconds: list[tuple[float, float]],
) -> None:
    samples = spoken_at(*seconds)
    parts = heard(samples, 77_777)
    assert heard(samples, len(samples)) == parts
    later = [part for part in parts if part.stop > ANEW]
    alone = heard(samples, 30_001, first=1)
    assert [part.stop for part in alone] == [part.stop for part in later]
    assert alone[1:] == later[1:]
    assert [part.start for part in alone[:1]] == [max(part.start, ANEW) for part in later[:1]]


def test_who_speaks_where_hearing_begins_anew_goes_on_to_speak() -> None:
    (whole,) = whole_intervals(heard(spoken_at((30, 90)), SAMPLE_RATE))
    bounds = (29.6 * SAMPLE_RATE, 90.4 * SAMPLE_RATE)
    assert (whole.start, whole.stop) == pytest.approx(bounds, abs=SPEECH_CHUNK)
    before, after = whole_intervals(heard(spoken_at((30, 59.6), (60.4, 63)), SAMPLE_RATE))
    assert before.stop == after.start == ANEW  # their paddings meet, and it is a pause all the same
    last, first = whole_intervals(heard(spoken_at((30, 59), (60.1, 63)), SAMPLE_RATE))
    assert (ANEW - first.start, ANEW - last.stop) == pytest.approx((4_800, 9_600), abs=2 * SPEECH_CHUNK)
    assert after.pause == pytest.approx(0.8 * SAMPLE_RATE, abs=2 * SPEECH_CHUNK)


def test_speech_is_counted_where_it_begins_and_once() -> None:
    listener = Listener(SlowToHear, CHAPTERS)
    listener.hear(spoken_at((28, 33), (100, 101)))
    listener.finish()
    counts = [listener.spoken(start_s, start_s + 30) or 0 for start_s in range(0, 210, 30)]
    assert sum(counts) == listener.spoken(0, None)
    assert [round(n / SAMPLE_RATE, 1) for n in counts] == [3.0, 2.8, 0, 1.8, 0, 0, 0]  # by seconds
    alone = Listener(SlowToHear, CHAPTERS, 1)
    alone.hear(spoken_at((28, 33), (100, 101))[ANEW:])
    assert [alone.spoken(0, 60), alone.spoken(60, None)] == [0, counts[3]]
