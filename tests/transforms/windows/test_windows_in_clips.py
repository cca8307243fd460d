"""Tests the windows of recordings of which only clips are transcribed (`transforms.core.clips`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.cut_recordings import (
    PLAN,
    SOURCE,
    SPEECH_PLAN,
    VAD_STRIDE_PLAN,
    cut,
    read,
    recordings,
    sound,
    talk,
    wav,
)
from tests.support.detectors import IntermittentDetector, LoudnessDetector
from transforms.core.clips import Clips, ClipTimes, checked_clips
from transforms.core.sections import Sections
from transforms.core.types import AudioSpan, Recording, Window
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import WindowPlan
from transforms.windows.splices import joined
from transforms.windows.window_stream import WindowStream

PLANS = st.sampled_from(
    [PLAN, VAD_STRIDE_PLAN, SPEECH_PLAN, WindowPlan(2, 0, LoudnessDetector), WindowPlan(3, 2.9)]
)
TIMES = st.one_of(st.integers(0, 16), st.floats(0, 16).map(lambda time_s: round(time_s, 2)))


def clip_times(times: list[float]) -> ClipTimes:
    return checked_clips(sorted(times))


CLIPS = st.lists(TIMES, min_size=1, max_size=7, unique=True).map(clip_times)


def span_of(clips: ClipTimes, **fields: object) -> AudioSpan:
    return replace(AudioSpan(replace(SOURCE, clip_timestamps=clips)), **fields)


@settings(deadline=None, max_examples=150)
@given(recordings(), PLANS, CLIPS)
def test_windows_lie_in_clips_and_do_not_depend_on_the_blocks(
    case: tuple[Samples, list[Samples]], plan: WindowPlan, times: ClipTimes
) -> None:
    recording, blocks = case
    clips, span = Clips.of(times), span_of(times)
    expected, found = cut(plan, [recording], span), cut(plan, blocks, span)
    assert [(planned, speech) for planned, _, speech in found] == [
        (planned, speech) for planned, _, speech in expected
    ]
    for planned, samples, speech in found:
        assert tuple(clips.within_all(planned.stretches)) == planned.stretches
        assert len({clips.number_at(start) for start, _ in planned.stretches}) == 1
        assert samples.tolist() == np.concatenate([recording[a:b] for a, b in planned.stretches]).tolist()
        assert 0 < samples.size <= plan.window_samples
        assert all(0 <= start < stop <= samples.size for start, stop in speech or ())
    assert [planned.index for planned, _, _ in found] == sorted({planned.index for planned, _, _ in found})


@settings(deadline=None, max_examples=60)
@given(recordings(), PLANS, CLIPS)
def test_what_follows_the_last_clip_does_not_count(
    case: tuple[Samples, list[Samples]], plan: WindowPlan, times: ClipTimes
) -> None:
    recording, _ = case
    stop = Clips.of(times).stop
    if stop < len(recording) and (not plan.detector or stop > 5 * SAMPLE_RATE):  # else it may be one word
        found, limited = cut(plan, [recording], span_of(times)), cut(plan, [recording[:stop]], span_of(times))
        assert [planned for planned, _, _ in found] == [planned for planned, _, _ in limited]


@settings(deadline=None, max_examples=60)
@given(recordings(), CLIPS)
@example((sound((9, 0.3)), [sound((9, 0.3))]), ((1.0, 2.5), (4.0, None)))
def test_the_stride_begins_with_each_clip_and_covers_it(
    case: tuple[Samples, list[Samples]], times: ClipTimes
) -> None:
    recording, blocks = case
    found = cut(PLAN, blocks, span_of(times))
    clips = Clips.of(times).within(0, len(recording))
    assert joined(planned.stretches[0] for planned, _, _ in found) == clips
    starts = {planned.stretches[0][0] for planned, _, _ in found}
    assert {start for start, _ in clips} <= starts
    unshared = sum(planned.n_unshared for planned, _, _ in found)
    assert unshared == sum(stop - start for start, stop in clips)


@settings(deadline=None, max_examples=60)
@given(recordings(), PLANS, CLIPS, st.integers(0, 200_000))
def test_second_pass_reads_the_same_windows_and_nothing_outside_of_clips(
    case: tuple[Samples, list[Samples]], plan: WindowPlan, times: ClipTimes, extra: int
) -> None:
    recording, blocks = case
    clips, first = Clips.of(times), cut(plan, blocks, span_of(times))
    wanted = frozenset(planned.index for planned, _, _ in first[1::2])
    stop = extra + plan.window_samples
    extras = ((-1, extra),) if stop < len(recording) else ()  # about a boundary, so that it ends before
    again = cut(plan, blocks, span_of(times, windows=wanted, extra=extras))
    assert [one for one, _, _ in again if one.index >= 0] == [planned for planned, _, _ in first[1::2]]
    inside = clips.within(extra, stop) if extras else ()
    assert [one.stretches for one, _, _ in again if one.index == -1] == ([inside] if inside else [])


def test_speech_that_goes_on_between_clips_is_cut_out() -> None:
    found = cut(SPEECH_PLAN, [sound((12, 0.3))], span_of(((1.0, 2.0), (2.1, 2.6), (7.0, 7.5))))
    assert [(planned.stretches, planned.n_unshared, speech) for planned, _, speech in found] == [
        (((16_000, 32_000),), 16_000, ((0, 16_000),)),
        (((33_600, 41_600),), 8_000, ((0, 8_000),)),
        (((112_000, 120_000),), 8_000, ((0, 8_000),)),
    ]


SECTIONED_PLANS = [
    WindowPlan(30, 5, IntermittentDetector, sections=Sections(120)),
    WindowPlan(30, 5, IntermittentDetector, over_speech=False, sections=Sections(120)),
    WindowPlan(30, 5, sections=Sections(120)),
]
LONG_CLIPS: list[ClipTimes] = [
    ((3.3, 290.0),),
    ((10.0, 70.0), (118.0, 121.5), (130.25, None)),
    ((90.0, 115.0), (250.0, 251.0), (260.0, 299.0)),
    ((100.0, 110.0), (235.0, 239.9), (299.5, 299.9)),
]


@pytest.mark.parametrize("times", LONG_CLIPS)
@pytest.mark.parametrize("plan", SECTIONED_PLANS)
@pytest.mark.parametrize(
    "stretches", [[(1, 0.3), (0.5, 0.0)] * 200, [(300, 0.3)], [(115, 0.3), (0.7, 0.0), (184.3, 0.3)]]
)
def test_section_has_the_same_windows_wherever_reading_starts(
    plan: WindowPlan, stretches: list[tuple[float, float]], times: ClipTimes
) -> None:
    source = replace(audio_source("x", talk(*stretches)), clip_timestamps=times)

    def windows(start_s: int, until_s: int | None = None) -> list[tuple[PlannedWindow, bytes]]:
        with open_audio(source) as file:
            stream = WindowStream(file, AudioSpan(source), plan, plan.section_at(source, start_s))
            found = list(stream.windows(until_s))
        return [(planned, b"" if window is None else window.samples.tobytes()) for planned, window in found]

    everything = windows(0)
    assert everything
    for bound_s in (30, 60, 120, 150, 240, 270):
        before, after = ([], [])
        for one in everything:
            (before if one[0].position < bound_s * SAMPLE_RATE else after).append(one)
        assert windows(0, bound_s) == before
        assert [one for one in windows(bound_s) if one[0].position >= bound_s * SAMPLE_RATE] == after


def recording_of(payload: bytes, times: ClipTimes, plan: WindowPlan = SPEECH_PLAN) -> Recording:
    *_, recording = read(AudioSpan(replace(audio_source("x", payload), clip_timestamps=times)), plan)
    assert isinstance(recording, Recording)
    return recording


def test_recording_lists_its_clips_and_the_silence_in_them() -> None:
    payload = talk((2, 0.5), (8, 0.0), (1, 0.5), (9, 0.0))
    recording = recording_of(payload, ((1.0, 6.0), (9.5, 14.0)))
    assert recording.clips == ((1.0, 6.0), (9.5, 14.0))
    assert recording.duration_s == 14.0
    assert (recording.declared_s, recording.truncated, recording.problem) == (20.0, False, None)
    assert recording.speech_s == pytest.approx(1.4 + 1.8, abs=0.1)  # with padding
    assert recording.skipped[0] == (pytest.approx(2.4, abs=0.1), 6.0)
    assert recording.skipped[1] == (pytest.approx(11.4, abs=0.1), 14.0)


def test_seconds_between_clips_are_not_skipped() -> None:
    recording = recording_of(talk((20, 0.5)), ((1.0, 6.0), (9.5, 14.0)))
    assert (recording.skipped, recording.speech_s) == ((), 9.5)


def test_a_clip_that_the_end_cuts_is_listed_as_it_is() -> None:
    for plan in (SPEECH_PLAN, VAD_STRIDE_PLAN, PLAN):
        recording = recording_of(talk((5, 0.5)), ((1.0, 2.0), (4.0, 60.0)), plan)
        assert recording.clips == ((1.0, 2.0), (4.0, 5.0))
        assert (recording.duration_s, recording.truncated, recording.problem) == (5.0, False, None)


def test_clips_after_the_end_are_a_problem() -> None:
    recording = recording_of(talk((5, 0.5)), ((1.0, 2.0), (5.0, 6.0), (70.0, None)))
    assert recording.clips == ((1.0, 2.0),)
    assert recording.problem == "2 of 3 clips begin after the end of the recording, at 5.00 s: 5 s, 70 s"
    assert not recording.truncated


def test_a_file_that_breaks_off_in_a_clip_is_truncated() -> None:
    payload = wav(8)[: 4 * 32_000 + 44]
    assert recording_of(payload, ((1.0, 6.0),), PLAN).problem == "4.00 s of 8.00 s declared could be decoded"
    whole = recording_of(payload, ((1.0, 3.0),), PLAN)
    assert (whole.problem, whole.truncated, whole.duration_s) == (None, False, 3.0)


def test_clips_of_a_part_are_counted_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(100))
    part = replace(
        audio_source(str(path)), start_s=40.5, end_s=80.0, clip_timestamps=((1.0, 3.5), (20.0, None))
    )
    *windows, recording = read(AudioSpan(part), PLAN)
    assert isinstance(recording, Recording)
    assert recording.clips == ((1.0, 3.5), (20.0, 39.5))
    assert [w.stretches for w in windows[:2] if isinstance(w, Window)] == [
        ((16_000, 56_000),),
        ((320_000, 368_000),),
    ]
