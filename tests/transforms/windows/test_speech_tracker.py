from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.detectors import DelayedDetector, LookaheadDetector, LoudnessDetector
from transforms.core.sections import Sections
from transforms.windows.speech_intervals import SpeechPart, whole_intervals
from transforms.windows.speech_tracker import HANDOVER_SAMPLES, SpeechTracker


class Ones:
    """Detects speech in chunks 100 to 200, whatever the samples are."""

    def __init__(self) -> None:
        self.n_samples = 0
        self.n_chunks = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        self.n_samples += len(samples)
        first, self.n_chunks = self.n_chunks, self.n_samples // SPEECH_CHUNK
        return np.array([100 <= n < 200 for n in range(first, self.n_chunks)], np.float32)

    def finish(self) -> NDArray[np.float32]:
        return np.zeros(int(self.n_samples > self.n_chunks * SPEECH_CHUNK), np.float32)


def fed(n_samples: int, block: int) -> SpeechTracker:
    tracker = SpeechTracker(Ones)
    samples = np.zeros(n_samples, np.float32)
    for start in range(0, n_samples, block):
        tracker.feed(samples[start : start + block])
    tracker.finish()
    return tracker


def test_speech_of_a_window_at_and_between_bounds_of_chunks() -> None:
    tracker = fed(10 * SAMPLE_RATE, 7_777)
    ((start, stop),) = tracker.speech(0, 10 * SAMPLE_RATE) or ()
    assert start <= 100 * SPEECH_CHUNK < 200 * SPEECH_CHUNK <= stop
    for first in (40_000, 51_200, 51_201, 90_000):
        ((begin, end),) = tracker.speech(first, 20_000) or ()
        assert 0 <= begin < end <= 20_000
        assert begin == pytest.approx(max(start - first, 0), abs=SPEECH_CHUNK)
        assert end == min(stop - first, 20_000) or end == pytest.approx(stop - first, abs=SPEECH_CHUNK)
    assert tracker.speech(0, 20_000) == ()
    assert tracker.speech(130_000, 30_000) == ()


def test_samples_of_speech_are_counted() -> None:
    tracker = fed(10 * SAMPLE_RATE, SAMPLE_RATE)
    assert tracker.n_speech_samples(0, None) == pytest.approx(100 * SPEECH_CHUNK, abs=SAMPLE_RATE)
    assert tracker.n_speech_samples(0, 30) == tracker.n_speech_samples(0, None)
    assert tracker.n_speech_samples(30, None) == 0
    assert fed(20_000, 20_000).n_speech_samples(0, None) == 0
    assert fed(0, 1).n_speech_samples(0, None) == 0


def test_without_detector_speech_is_unknown() -> None:
    tracker = SpeechTracker(None)
    assert tracker.feed(np.zeros(5, np.float32)) == tracker.finish() == []
    assert tracker.settled == 5
    assert tracker.speech(0, 5) is None
    assert tracker.n_speech_samples(0, None) is None


def test_speech_is_returned_once_certain_and_never_before_settled() -> None:
    tracker, found = SpeechTracker(Ones), []
    for _ in range(10):
        settled = tracker.settled
        parts = tracker.feed(np.zeros(SAMPLE_RATE, np.float32))
        assert all(part.start >= settled for part in parts)
        found += parts
    assert tracker.settled > 8 * SAMPLE_RATE
    assert [(whole.start, whole.stop) for whole in whole_intervals(found)] == list(
        fed(10 * SAMPLE_RATE, SAMPLE_RATE).speech(0, 10 * SAMPLE_RATE) or ()
    )
    assert tracker.finish() == []


def test_dropped_probabilities_do_not_change_later_speech() -> None:
    tracker, other = fed(10 * SAMPLE_RATE, 30_000), fed(10 * SAMPLE_RATE, 30_000)
    for before in (0, 51_300, 51_000, 60_000):
        other.forget(before)
    assert other.speech(60_000, 50_000) == tracker.speech(60_000, 50_000) != ()
    assert other.n_speech_samples(0, None) == tracker.n_speech_samples(0, None)


SECTIONS = Sections(120)
RESTART = SECTIONS.warmup_start_s(1) * SAMPLE_RATE  # where detection restarts for the second section
HANDOVER = RESTART + HANDOVER_SAMPLES
HANDOVER_S = HANDOVER / SAMPLE_RATE


def sound_at(*seconds: tuple[float, float], length_s: float = 200) -> Samples:
    samples = np.zeros(round(length_s * SAMPLE_RATE), np.float32)
    for start_s, stop_s in seconds:
        samples[round(start_s * SAMPLE_RATE) : round(stop_s * SAMPLE_RATE)] = 0.5
    return samples


def parts_of(
    samples: Samples, block: int, first: int = 0, detector: type[LoudnessDetector] = DelayedDetector
) -> list[SpeechPart]:
    """Returns all parts of speech, of a tracker that starts with a section."""
    tracker = SpeechTracker(detector, SECTIONS, first)
    found = []
    for start in range(SECTIONS.warmup_start_s(first) * SAMPLE_RATE, len(samples), block):
        found += tracker.feed(samples[start : start + block])
    return found + tracker.finish()


@pytest.mark.parametrize(
    "seconds",
    [
        [(1, 2), (50, 70), (100, 110)], [(59.7, 80)], [(30, 59.9), (60.3, 61)], [(30, 59.2), (60.9, 63)],
        [(10, 199)], [(59.9, 60.1)], [], [(0, 58), (62, 63), (118, 122), (179, 181)],
        [(67.7, 80)], [(30, 67.9), (68.3, 69)], [(50, 67.2), (68.9, 71)], [(67.9, 68.1)], [(50, 67.8)],
    ],
)  # fmt: skip
def test_speech_of_a_section_does_not_depend_on_where_reading_started(
    seconds: list[tuple[float, float]],
) -> None:
    samples = sound_at(*seconds)
    parts = parts_of(samples, 77_777)
    assert parts_of(samples, len(samples)) == parts
    later = [part for part in parts if part.stop > HANDOVER]
    alone = [part for part in parts_of(samples, 30_001, first=1) if part.stop > HANDOVER]
    assert [part.stop for part in alone] == [part.stop for part in later]
    assert alone[1:] == later[1:]


@pytest.mark.parametrize("block", [1_000, SAMPLE_RATE, 77_777, 200 * SAMPLE_RATE])
def test_a_detector_that_decides_late_finds_the_same(block: int) -> None:
    for seconds in (
        [(1, 2), (50, 70), (100, 110)], [(30, 67.2), (67.4, 67.7), (68.3, 69)], [(50, 67.2), (68.9, 71)],
        [(67.0, 67.3)], [(66.5, 66.9), (68.5, 69)], [(10, 199)], [(196, 200)], [],
    ):  # fmt: skip
        samples = sound_at(*seconds)
        assert parts_of(samples, block, detector=LookaheadDetector) == parts_of(samples, block)
        trackers = [SpeechTracker(kind, SECTIONS) for kind in (DelayedDetector, LookaheadDetector)]
        for tracker in trackers:
            for start in range(0, len(samples), block):
                tracker.feed(samples[start : start + block])
            tracker.finish()
        for start_s in (0, 55, 60, 64.5, 67, 68, 70, 190):
            start, n = round(start_s * SAMPLE_RATE), 10 * SAMPLE_RATE
            at_once, late = (tracker.speech(start, n) for tracker in trackers)
            assert at_once == late


@pytest.mark.parametrize("word_s", [0.3, 0.4, 1.0])
@pytest.mark.parametrize("from_handover_s", [-8.6, -8.3, -8.1, -8.0, -7.9, -0.6, -0.4, -0.2, -0.1, 0.0, 0.1])
def test_a_word_where_detection_restarts_or_is_handed_over_is_found(
    word_s: float, from_handover_s: float
) -> None:
    start_s = HANDOVER_S + from_handover_s
    (word,) = whole_intervals(parts_of(sound_at((20, 21), (start_s, start_s + word_s)), SAMPLE_RATE))[1:]
    assert word.start <= start_s * SAMPLE_RATE - 4_000
    assert word.stop >= (start_s + word_s) * SAMPLE_RATE
    assert word.pause == pytest.approx((start_s - 21) * SAMPLE_RATE, abs=3 * SPEECH_CHUNK)


def test_a_detector_is_not_used_until_it_has_settled() -> None:
    """One that misses all speech of its first seconds loses none in the second section."""

    class Late(DelayedDetector):
        n_samples = 0

        def __call__(self, samples: Samples) -> NDArray[np.float32]:
            quiet = max(HANDOVER_SAMPLES // 2 - self.n_samples, 0)
            self.n_samples += len(samples)
            samples = samples.copy()
            samples[:quiet] = 0
            return super().__call__(samples)

    words = [(20.0, 21.0), (57.0, 58.0), (60.1, 61.0), (62.0, 63.0), (66.6, 69.0)]
    tracker = SpeechTracker(Late, SECTIONS)
    found = whole_intervals([*tracker.feed(sound_at(*words)), *tracker.finish()])
    assert [round(part.start / SAMPLE_RATE + 0.4) for part in found] == [20, 57, 60, 62, 67]


def test_speech_continues_across_a_handover() -> None:
    (whole,) = whole_intervals(parts_of(sound_at((30, 90)), SAMPLE_RATE))
    bounds = (29.6 * SAMPLE_RATE, 90.4 * SAMPLE_RATE)
    assert (whole.start, whole.stop) == pytest.approx(bounds, abs=SPEECH_CHUNK)
    before, after = whole_intervals(parts_of(sound_at((30, 67.6), (68.4, 71)), SAMPLE_RATE))
    assert before.stop == after.start == HANDOVER  # their paddings meet, and it is a pause all the same
    assert after.pause == pytest.approx(0.8 * SAMPLE_RATE, abs=2 * SPEECH_CHUNK)


def test_nothing_is_returned_before_settled_across_a_handover() -> None:
    samples = sound_at((50, 67.2), (67.7, 67.9), (68.3, 80), (80.5, 81))
    for block in (1_000, SAMPLE_RATE, 77_777):
        tracker, settled = SpeechTracker(DelayedDetector, SECTIONS), 0
        for start in range(0, len(samples), block):
            parts = tracker.feed(samples[start : start + block])
            assert all(part.start >= settled for part in parts)
            assert tracker.settled >= settled
            settled = tracker.settled


def test_speech_is_counted_once_where_it_starts() -> None:
    tracker = SpeechTracker(DelayedDetector, SECTIONS)
    tracker.feed(sound_at((28, 33), (100, 101)))
    tracker.finish()
    counts = [tracker.n_speech_samples(start_s, start_s + 30) or 0 for start_s in range(0, 210, 30)]
    assert sum(counts) == tracker.n_speech_samples(0, None)
    assert [round(n / SAMPLE_RATE, 1) for n in counts] == [3.0, 2.8, 0, 1.8, 0, 0, 0]  # by seconds
    alone = SpeechTracker(DelayedDetector, SECTIONS, 1)
    alone.feed(sound_at((28, 33), (100, 101))[RESTART:])
    assert [alone.n_speech_samples(0, 60), alone.n_speech_samples(60, None)] == [0, counts[3]]


@pytest.mark.parametrize("length_s", [0.2, 0.29, 3, 5])
@pytest.mark.parametrize("block", [100, 5_000, SAMPLE_RATE, 10 * SAMPLE_RATE])
def test_a_recording_of_one_short_word_has_speech(length_s: float, block: int) -> None:
    samples = sound_at((length_s / 2, length_s / 2 + 0.1), length_s=length_s)
    tracker, found = SpeechTracker(LoudnessDetector), []
    for start in range(0, len(samples), block):
        assert tracker.settled == 0
        found += tracker.feed(samples[start : start + block])
        tracker.forget(start + block)
    (word,) = [*found, *tracker.finish()]
    first, last = (length_s / 2 - 0.4) * SAMPLE_RATE, (length_s / 2 + 0.5) * SAMPLE_RATE
    assert word.start == pytest.approx(max(first, 0), abs=SPEECH_CHUNK)
    assert word.stop == pytest.approx(min(last, len(samples)), abs=SPEECH_CHUNK)
    assert tracker.n_speech_samples(0, None) == word.n_samples
    assert tracker.speech(0, len(samples)) == ((word.start, word.stop),)


def test_a_short_word_in_a_longer_recording_or_beside_speech_is_no_speech() -> None:
    for samples in (sound_at((2, 2.1), length_s=5.1), sound_at(length_s=3)):
        tracker = SpeechTracker(LoudnessDetector)
        assert [*tracker.feed(samples), *tracker.finish()] == []
    (word,) = whole_intervals(parts_of(sound_at((1, 2), (3, 3.1), length_s=4), SAMPLE_RATE))
    assert word.stop <= 2.5 * SAMPLE_RATE


def test_a_weak_sound_in_a_short_recording_is_no_speech() -> None:
    class Weak(LoudnessDetector):
        def __call__(self, samples: Samples) -> NDArray[np.float32]:
            return super().__call__(samples) * np.float32(0.4)

    tracker = SpeechTracker(Weak)
    assert [*tracker.feed(sound_at((1, 1.1), length_s=3)), *tracker.finish()] == []
    assert tracker.speech(0, 3 * SAMPLE_RATE) == ()
