from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE
from transforms.core.clips import (
    END,
    Clips,
    ClipTimes,
    check_clip_times,
    checked_clips,
    parse_clip_times,
    parse_clip_timestamps,
)


@pytest.mark.parametrize(
    ("value", "clips"),
    [
        ("0,12.5,60", ((0.0, 12.5), (60.0, None))),
        (" 1 , 2 ", ((1.0, 2.0),)),
        ("0", ((0.0, None),)),
        ([0, 12.5, 60, 61], ((0.0, 12.5), (60.0, 61.0))),
        (["3", "4.5"], ((3.0, 4.5),)),
        ((0, 1, 1, 2), ((0.0, 1.0), (1.0, 2.0))),
        (30, ((30.0, None),)),
        (None, ()),
        ("  ", ()),
        ([], ()),
    ],
)
def test_clips_are_named_as_in_openai_whisper(value: object, clips: ClipTimes) -> None:
    assert parse_clip_timestamps(value) == clips
    assert checked_clips(parse_clip_times(value)) == clips


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5,3", "the clip from 5 s ends at 3 s, which is not after its start"),
        ("5,5", "the clip from 5 s ends at 5 s"),
        ([1, 1.000001], "the clip from 1 s ends at 1 s"),  # less than a sample
        ("0,10,5,20", "the clip from 5 s begins before the one before it ends, at 10 s"),
        ("20,30,0,10", "the clip from 0 s begins before"),
        ("20,30,0", "the clip from 0 s begins before"),
        ("-1,3", "-1 is no time of a recording"),
        ("nan", "nan is no time of a recording"),
        ([0, float("inf")], "inf is no time of a recording"),
        ("0,", "'' is no number of seconds"),
        ("0,1:30", "'1:30' is no number of seconds"),
        ([0, None], "None is no number of seconds"),
        ([True, 2], "True is no number of seconds"),
        ([[0, 1]], r"\[0, 1\] is no number of seconds"),
        ({"start": 0}, "is no clips: give START,END"),
        (True, "True is no number of seconds"),
    ],
)
def test_what_names_no_clips_is_an_error(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_clip_timestamps(value)


def test_clips_of_a_caller_are_checked() -> None:
    check_clip_times(((0.0, 1.0), (2, None)))
    for clips, message in (
        (((0.0, None), (2.0, 3.0)), "clip_timestamps .*: give"),
        (((3.0, 2.0),), "ends at 2 s"),
        (((3.0, 4.0), (1.0, 2.0)), "begins before"),
    ):
        with pytest.raises(ValueError, match=message):
            check_clip_times(clips)


def test_clips_that_touch_are_one() -> None:
    clips = Clips.of(((0.5, 1.0), (1.0, 2.0), (3.0, None)))
    assert clips.intervals == ((8_000, 32_000), (48_000, END))
    assert clips.stop == END
    assert not clips.is_whole


def test_a_clip_from_the_start_without_an_end_is_the_whole_recording() -> None:
    for times in ((), ((0.0, None),), ((0.0, 5.0), (5.0, None))):
        assert Clips.of(times).is_whole
        assert Clips.of(times) == Clips()


@given(
    st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=8).map(sorted),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_parts_in_clips_are_those_of_each_sample(times: list[int], one: int, other: int) -> None:
    clips = Clips.of(checked_clips([time / SAMPLE_RATE for time in times]))
    start, stop = sorted((one, other))
    covered = {sample for first, last in clips.intervals for sample in range(first, min(last, 50))}
    found = clips.within(start, stop)
    assert [sample for first, last in found for sample in range(first, last)] == sorted(
        covered & set(range(start, stop))
    )
    number = clips.number_at(start)
    assert number == sum(last <= start for _, last in clips.intervals)
    following = clips.first_from(start)
    assert following == min((sample for sample in covered if sample >= start), default=END)
    assert clips.within_all([(start, stop), (stop, stop + 3)]) == [*found, *clips.within(stop, stop + 3)]
