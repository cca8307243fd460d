"""Clips: the parts of a recording that are transcribed, where not all of it is (`--clip_timestamps`)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from model.interface import SAMPLE_RATE

ClipTimes = tuple[tuple[float, float | None], ...]
"""(start, end) of clips in seconds of the recording, in order; the last end may be None, for its end."""

END = 1 << 62
"""Stands for the end of the recording, in samples."""

FORM = "START,END,START,END,... in seconds, in order, where the last END may be missing"

SEVERAL_CLIPS = "several_clips"
"""Kind of the failure of a recording that is listed with different clips."""

SEVERAL_CLIPS_ADVICE = (
    "it is listed several times, with different clip_timestamps; list it once, with all of its clips"
)

_SHOWN = 100  # characters of a value that a message quotes


def parse_clip_timestamps(value: object) -> ClipTimes:
    """Returns the clips that a text or a list of numbers names, as openai/whisper has them.

    >>> parse_clip_timestamps("0,12.5,60")
    ((0.0, 12.5), (60.0, None))

    Args:
        value: `START,END,START,END,...` in seconds as text, or as a list of numbers; the last END may be
            missing. None and what is empty name no clips.

    Raises:
        ValueError: it is something else, or a clip is empty or does not follow the one before it.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if isinstance(words, int | float):
        words = (words,)
    if not isinstance(words, list | tuple):
        raise ValueError(f"{repr(value)[:_SHOWN]} is no clips: give {FORM}")
    return checked_clips([_seconds(word) for word in words])


def parse_clip_times(value: object) -> tuple[float, ...]:
    """Returns the same as a flat list of times; see `parse_clip_timestamps`.

    Raises:
        ValueError: see `parse_clip_timestamps`.
    """
    clips = parse_clip_timestamps(value)
    return tuple(time_s for clip in clips for time_s in clip if time_s is not None)


def checked_clips(times_s: Sequence[float]) -> ClipTimes:
    """Returns the clips of a flat list of times; see `parse_clip_timestamps`.

    Raises:
        ValueError: a time is no number of seconds, or a clip is empty or does not follow the one before it.
    """
    for time_s in times_s:
        if not 0 <= time_s < math.inf:  # refuses NaN too
            raise ValueError(f"{time_s:g} is no time of a recording: give {FORM}")
    ends: list[float | None] = [*times_s[1::2]]
    if len(times_s) % 2:
        ends.append(None)
    clips = tuple(zip(times_s[::2], ends, strict=True))
    for start_s, end_s in clips:
        if end_s is not None and round(end_s * SAMPLE_RATE) <= round(start_s * SAMPLE_RATE):
            raise ValueError(f"the clip from {start_s:g} s ends at {end_s:g} s, which is not after its start")
    for (_, end_s), (start_s, _) in pairwise(clips):
        if end_s is None or start_s < end_s:
            raise ValueError(
                f"the clip from {start_s:g} s begins before the one before it ends, at {end_s:g} s"
            )
    return clips


def check_clip_times(clips: ClipTimes) -> None:
    """Checks clips that a caller has made.

    Raises:
        ValueError: they are not as `checked_clips` returns them.
    """
    checked = checked_clips([time_s for clip in clips for time_s in clip if time_s is not None])
    if checked != tuple(clips):
        raise ValueError(f"clip_timestamps {repr(clips)[:_SHOWN]}: give (start, end) of each, in seconds")


def _seconds(word: object) -> float:
    try:
        if isinstance(word, str | int | float) and not isinstance(word, bool):
            return float(word)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{repr(word)[:_SHOWN]} is no number of seconds: give {FORM}")


@dataclass(frozen=True)
class Clips:
    """Clips of a recording, in samples at 16 kHz.

    Args:
        intervals: (start, stop) of each; sorted, and they do not touch. The last stop may be `END`.
    """

    intervals: tuple[tuple[int, int], ...] = ((0, END),)
    _stops: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stops", tuple(stop for _, stop in self.intervals))

    @classmethod
    def of(cls, times: ClipTimes) -> Clips:
        """Returns the clips of a recording; all of it for none. Clips that touch are one."""
        intervals: list[tuple[int, int]] = []
        for start_s, end_s in times:
            start = round(start_s * SAMPLE_RATE)
            stop = END if end_s is None else round(end_s * SAMPLE_RATE)
            if intervals and start <= intervals[-1][1]:
                start = intervals.pop()[0]
            intervals.append((start, stop))
        return cls(tuple(intervals)) if intervals else cls()

    @property
    def is_whole(self) -> bool:
        """Whether they are the whole recording."""
        return self.intervals == ((0, END),)

    @property
    def stop(self) -> int:
        """One past the last sample of the last clip; `END` if it lasts to the end of the recording."""
        return self.intervals[-1][1]

    def within(self, start: int, stop: int) -> tuple[tuple[int, int], ...]:
        """Returns the parts of an interval that lie in clips."""
        found = []
        for number in range(self.number_at(start), len(self.intervals)):
            first, last = self.intervals[number]
            if max(first, start) >= stop:
                break
            found.append((max(first, start), min(last, stop)))
        return tuple(found)

    def within_all(self, intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Returns the parts of several intervals that lie in clips."""
        return [part for start, stop in intervals for part in self.within(start, stop)]

    def number_at(self, sample: int) -> int:
        """Returns the number of the clip that has a sample, from 0; that of the next one if none has it."""
        return bisect_right(self._stops, sample)

    def first_from(self, sample: int) -> int:
        """Returns the first sample of a clip that is not before a sample; `END` if there is none."""
        number = self.number_at(sample)
        return END if number == len(self.intervals) else max(self.intervals[number][0], sample)
