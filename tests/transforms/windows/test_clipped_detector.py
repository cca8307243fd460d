from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.detectors import LookaheadDetector, LoudnessDetector
from transforms.core.clips import Clips
from transforms.windows.clipped_detector import LEAD_SAMPLES, ClippedDetector

CLIPS = Clips.of(((20.0, 21.0), (22.0, 23.5), (60.0, 62.0)))
LOUD = np.full(70 * SAMPLE_RATE + 100, 0.5, np.float32)


class Counting(LoudnessDetector):
    """Counts detectors, and the samples that they are given."""

    lengths: list[int]

    def __init__(self) -> None:
        super().__init__()
        Counting.lengths.append(0)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        Counting.lengths[-1] += len(samples)
        return super().__call__(samples)


def probabilities(detector: ClippedDetector, blocks: list[Samples]) -> NDArray[np.float32]:
    found = [detector(block) for block in blocks]
    return np.concatenate([*found, detector.finish()])


@pytest.mark.parametrize("kind", [LoudnessDetector, LookaheadDetector])
@settings(deadline=None, max_examples=40)
@given(bounds=st.lists(st.integers(0, len(LOUD)), max_size=6).map(sorted))
def test_speech_is_found_in_clips_alone_however_the_samples_come(
    kind: type[LoudnessDetector], bounds: list[int]
) -> None:
    found = probabilities(ClippedDetector(kind, CLIPS), np.split(LOUD, bounds))
    assert len(found) == -(-len(LOUD) // SPEECH_CHUNK)
    for number, probability in enumerate(found.tolist()):
        first = number * SPEECH_CHUNK
        assert probability == bool(CLIPS.within(first, first + SPEECH_CHUNK)), first / SAMPLE_RATE


def test_a_detector_is_given_clips_and_their_leads() -> None:
    Counting.lengths = []
    probabilities(ClippedDetector(Counting, CLIPS), [LOUD])
    lengths_s = [(23.5 - 20) + LEAD_SAMPLES / SAMPLE_RATE, 2 + LEAD_SAMPLES / SAMPLE_RATE]
    assert [length / SAMPLE_RATE for length in Counting.lengths] == pytest.approx(lengths_s, abs=0.064)


def test_a_stream_may_begin_in_a_clip_and_end_in_one() -> None:
    origin = 656 * SPEECH_CHUNK  # 20.992 s
    found = probabilities(ClippedDetector(LoudnessDetector, CLIPS, origin), [LOUD[origin : 23 * SAMPLE_RATE]])
    assert len(found) == -(-(23 * SAMPLE_RATE - origin) // SPEECH_CHUNK)
    assert np.flatnonzero(found).tolist() == [0, *range(31, len(found) - 1)]  # the last one is incomplete


def test_clips_before_the_origin_are_passed_over() -> None:
    Counting.lengths = []
    found = probabilities(ClippedDetector(Counting, CLIPS, 1875 * SPEECH_CHUNK), [LOUD[60 * SAMPLE_RATE :]])
    assert len(Counting.lengths) == 1
    assert found[:62].all()
    assert not found[63:].any()
