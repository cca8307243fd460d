"""Tests the reading of recordings of which only clips are transcribed, by spans and by ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import IntermittentDetector
from tests.support.span_reading import KNOWN, PLAN, Reading, read, wav
from transforms.audio import blocks as blocks_module
from transforms.core.clips import ClipTimes
from transforms.core.recording_parts import complete_parts, join_parts
from transforms.core.sections import Sections
from transforms.core.types import AudioSource, AudioSpan, Recording
from transforms.core.uris import audio_source
from transforms.fetch.policy import FetchPolicy
from transforms.reading.range_split import split_into_ranges
from transforms.windows.plan import WindowPlan

N_S = 450
PLANS = [
    WindowPlan(30, 5, IntermittentDetector, sections=Sections(120)),
    WindowPlan(30, 5, IntermittentDetector, over_speech=False, sections=Sections(120)),
    replace(PLAN, sections=Sections(120)),
]
CLIPS: list[ClipTimes] = [
    ((12.0, 35.5),),
    ((250.0, 290.0), (410.0, 415.0)),
    ((10.0, 20.0), (115.0, 125.0), (364.7, None)),
    ((230.0, 239.0), (241.0, 242.0)),
    ((5.0, 100.0), (440.0, 800.0)),
    ((5.0, 6.0), (440.0, 445.0), (500.0, 510.0), (2000.0, None)),
    ((600.0, 610.0),),
]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> AudioSource:
    """Seven and a half minutes with speech now and then, and silence in the middle."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, N_S * SAMPLE_RATE).astype(np.float32)
    samples[150 * SAMPLE_RATE : 215 * SAMPLE_RATE] = 0
    path = tmp_path_factory.mktemp("talk") / "a.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    return audio_source(str(path))


def windows_of(found: Reading) -> list[tuple[int, bytes]]:
    return [(window.index, window.samples.tobytes()) for _, window in found.windows]


def recording_of(*readings: Reading) -> Recording:
    complete = complete_parts([part for reading in readings for part in reading.parts])
    assert complete
    return join_parts(complete)


@pytest.mark.parametrize("times", CLIPS)
@pytest.mark.parametrize("plan", PLANS)
def test_windows_and_parts_do_not_depend_on_spans_and_readers(
    talk: AudioSource, plan: WindowPlan, times: ClipTimes
) -> None:
    source = replace(talk, clip_timestamps=times)
    expected = read(AudioSpan(source), plan)
    assert bool(expected.windows) == (times[0][0] < N_S)
    recording = recording_of(expected)
    for span_s in (30, 90, 240):
        found = read(AudioSpan(source), plan, span_s)
        assert windows_of(found) == windows_of(expected)
        assert recording_of(found) == recording
    for range_s in (60, 90, 120, 240):
        ranges = split_into_ranges(source, range_s, FetchPolicy())
        shares = [read(AudioSpan(source, start_s=start, stop_s=stop), plan, 60) for start, stop in ranges]
        assert [one for share in shares for one in windows_of(share)] == windows_of(expected)
        assert recording_of(*shares) == recording
        assert all(share.failures == [] for share in shares)


@pytest.mark.parametrize("plan", PLANS)
def test_a_wrong_length_in_the_header_changes_nothing(talk: AudioSource, plan: WindowPlan) -> None:
    source = replace(talk, clip_timestamps=((10.0, 20.0), (130.0, 140.0), (490.0, 500.0), (700.0, None)))
    expected = read(AudioSpan(source), plan)
    ranges = ((0, 120), (120, 480), (480, 690), (690, None))
    shares = [read(AudioSpan(source, start_s=start, stop_s=stop), plan, 60) for start, stop in ranges]
    assert [one for share in shares for one in windows_of(share)] == windows_of(expected)
    assert recording_of(*shares) == recording_of(expected)
    assert recording_of(expected).duration_s == N_S


@pytest.mark.parametrize("plan", PLANS)
def test_committed_ranges_are_not_read_again(talk: AudioSource, plan: WindowPlan) -> None:
    source = replace(talk, clip_timestamps=CLIPS[2])
    expected = read(AudioSpan(source), plan, 60)
    done = ((0, (0, 60)), (0, (120, 300)))
    known = replace(KNOWN, done=done)
    found = read(AudioSpan(source), plan, 60, known=known)
    assert found.parts == [part for part in expected.parts if part.start_s in (60, 300, 360, 420)]
    assert set(windows_of(found)) < set(windows_of(expected))


def test_ranges_without_clips_are_a_part_of_the_range_before(talk: AudioSource) -> None:
    policy = FetchPolicy()
    for times, ranges in {
        ((10.0, 20.0),): ((0, None),),
        ((130.0, 140.0), (400.0, None)): ((0, 120), (120, 360), (360, 420), (420, None)),
        ((59.0, 61.0), (900.0, 910.0)): ((0, 60), (60, None)),
    }.items():
        assert split_into_ranges(replace(talk, clip_timestamps=times), 60, policy) == ranges


def test_nothing_is_decoded_after_the_last_clip_nor_detected_far_from_clips(tmp_path: Path) -> None:
    source = replace(audio_source(str(wav(tmp_path / "a.wav", 900))), clip_timestamps=((400.0, 410.0),))
    n_detected = 0

    class Counting(IntermittentDetector):
        def __call__(self, samples: Samples) -> Samples:
            nonlocal n_detected
            n_detected += len(samples)
            return super().__call__(samples)

    decoded = []

    def counted(self: object, position: int, values: Samples) -> object:
        decoded.append((position / SAMPLE_RATE, values.shape[1] / SAMPLE_RATE))
        return add(self, position, values)

    add = blocks_module._BlockBuilder.add
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks_module._BlockBuilder, "add", counted)
        found = read(AudioSpan(source), WindowPlan(30, 5, Counting, sections=Sections(120)))
    assert recording_of(found).duration_s == 410.0
    assert n_detected / SAMPLE_RATE == pytest.approx(18, abs=0.1)  # with the lead
    assert min(start_s for start_s, _ in decoded) >= 360 - 60 - 30 - 1
    assert max(start_s + length_s for start_s, length_s in decoded) <= 421


def test_damage_far_from_clips_does_not_count(tmp_path: Path) -> None:
    samples = np.full(300 * SAMPLE_RATE, 0.1, np.float32)
    samples[100 * SAMPLE_RATE : 101 * SAMPLE_RATE] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    source = audio_source(str(tmp_path / "a.wav"))
    assert recording_of(read(AudioSpan(source))).problem
    for times, has_problem in ((((10.0, 20.0), (200.0, 210.0)), False), (((98.0, 110.0),), True)):
        for span_s in (60, 1800):
            found = read(AudioSpan(replace(source, clip_timestamps=times)), span_s=span_s)
            assert bool(recording_of(found).problem) == has_problem


def test_a_recording_that_is_shorter_than_its_committed_ranges_is_a_failure(tmp_path: Path) -> None:
    source = replace(audio_source(str(wav(tmp_path / "a.wav", 70))), clip_timestamps=((10.0, None),))
    found = read(AudioSpan(source), span_s=60, known=replace(KNOWN, done=((0, (0, 60)), (0, (60, 120)))))
    (failure,) = found.failures
    assert (failure.stage, failure.kind) == ("decode", "changed")
