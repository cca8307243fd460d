"""Parts of a recording that were read range by range, and how they join to the whole recording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from model.interface import SAMPLE_RATE
from transforms.core.audio_streams import choice_remark
from transforms.core.clips import END, Clips
from transforms.core.damage import Damage
from transforms.core.types import AudioSource, Intervals, Recording, RecordingPart

TOLERANCE_S, TOLERANCE = 0.1, 0.001  # tolerated error of a header, absolute and relative


def truncated_and_problem(
    damage: Damage, declared_s: float | None, decoded_s: float, wanted_s: float = math.inf
) -> tuple[bool, str | None]:
    """Returns whether a recording counts as truncated, and a message that says what is wrong with it.

    Args:
        damage: the damage of the whole recording.
        declared_s: seconds that its header declares; None if it declares none.
        decoded_s: seconds that could be decoded.
        wanted_s: seconds of it that were to be decoded, at most.

    Returns:
        True if reading failed, the file is cut short, more than 0.1 s is missing or invalid, or the declared
        duration exceeds the decoded one by more than 0.1 s and a thousandth; and a message that says what is
        missing or damaged, or None if nothing is.
    """
    declared_s = declared_s or 0.0
    is_short = min(declared_s, wanted_s) - decoded_s > max(TOLERANCE_S, TOLERANCE * declared_s)
    problems = [damage.read_error] if damage.read_error is not None else []
    if damage.is_cut:
        problems.append("the end of the file is not whole: it was cut short")
    if damage.n_damaged:
        problems.append(f"{damage.n_damaged} damaged packets were skipped")
    if damage.lost_s > TOLERANCE_S:
        problems.append(f"{damage.lost_s:.2f} s are missing in between")
    if is_short:
        problems.append(f"{decoded_s:.2f} s of {declared_s:.2f} s declared could be decoded")
    if damage.n_invalid:
        problems.append(f"{damage.n_invalid} samples that are not finite, or absurd, were taken for silence")
    if damage.cancelled_s:
        problems.append(
            f"channels cancel each other for {damage.cancelled_s:.2f} s: the loudest was taken there"
        )
    if damage.other_channel_s:
        seconds = f"{damage.other_channel_s:.2f} s"
        problems.append(f"the file has a single channel for {seconds}, which was taken for the one named")
    missing_s = max(damage.damaged_s, damage.lost_s, damage.invalid_s)
    is_truncated = damage.read_error is not None or damage.is_cut or is_short or missing_s > TOLERANCE_S
    return is_truncated, "; ".join(problems) or None


MIN_GAP = SAMPLE_RATE
"""Samples, 1 s: shorter stretches that are cut out are not reported."""

MAX_NAMED = 3
"""Clips that a sentence names."""

Range = tuple[int, int | None]
"""(start, stop) in seconds, multiples of 30; None for the end of the recording."""


class Coverage:
    """The stretches that the windows of a range cover; windows are added in the order of their starts."""

    def __init__(self) -> None:
        self.covered: tuple[int, int] | None = None
        self.gaps: list[tuple[int, int]] = []

    def add(self, stretches: Intervals) -> None:
        """Adds the stretches of a window, in samples."""
        for start, stop in stretches:
            if self.covered is None:
                self.covered = (start, stop)
                continue
            first, last = self.covered
            if start - last >= MIN_GAP:
                self.gaps.append((last, start))
            self.covered = (first, max(last, stop))


def missing_ranges(start_s: int, stop_s: int | None, done: Iterable[Range], length_s: int) -> Iterator[Range]:
    """Yields the ranges from `start_s` to `stop_s` that are not done, each of at most `length_s`.

    Without end if `stop_s` is None. They begin at multiples of the length, or at the end of a range that is
    done.
    """
    at_s = start_s
    for done_start_s, done_stop_s in sorted(done, key=lambda item: item[0]):
        if done_stop_s is not None and done_stop_s <= at_s:
            continue
        if stop_s is not None and done_start_s >= stop_s:
            break
        if done_start_s > at_s:
            yield from _split_range(at_s, done_start_s, length_s)
        if done_stop_s is None:
            return
        at_s = max(at_s, done_stop_s)
    yield from _split_range(at_s, stop_s, length_s)


def _split_range(start_s: int, stop_s: int | None, length_s: int) -> Iterator[Range]:
    while stop_s is None or start_s < stop_s:
        following = (start_s // length_s + 1) * length_s
        yield start_s, following if stop_s is None else min(following, stop_s)
        start_s = following


def is_damaged(part: RecordingPart) -> bool:
    """Whether audio is missing in a part, or at the end of the recording if the part ends there."""
    decoded_s, wanted_s = (part.n_samples or 0) / SAMPLE_RATE, _wanted_s(part.source)
    return truncated_and_problem(part.damage, part.declared_s, decoded_s, wanted_s)[0]


def complete_parts(parts: Iterable[RecordingPart]) -> list[RecordingPart] | None:
    """Returns the parts that make up the recording, each range once, in order; None if a range is missing.

    A recording that was listed twice, with different hints, has some parts twice: every run keeps the same.
    """
    by_start = {part.start_s: part for part in sorted(parts, key=repr, reverse=True)}
    found, at = list[RecordingPart](), 0
    while True:
        following = by_start.get(at)
        if following is None:
            return None
        found.append(following)
        if following.stop_s is None:
            return found
        at = following.stop_s


def join_parts(parts: Sequence[RecordingPart]) -> Recording:
    """Joins consecutive parts, from the start of a recording to its end."""
    last = parts[-1]
    n_samples, clips = last.n_samples or 0, Clips.of(last.source.clip_timestamps)
    damage = sum((part.damage for part in parts), Damage())
    duration_s = n_samples / SAMPLE_RATE
    truncated, problem = truncated_and_problem(damage, last.declared_s, duration_s, _wanted_s(last.source))
    n_speech_samples = [part.n_speech_samples for part in parts if part.n_speech_samples is not None]
    has_speech = not n_speech_samples or sum(n_speech_samples) > 0
    remark = choice_remark(last.streams, last.source.stream, has_speech=has_speech)
    return Recording(
        source=last.source,
        duration_s=duration_s,
        n_windows=sum(part.n_windows for part in parts),
        n_skipped=sum(part.n_skipped for part in parts),
        speech_s=sum(n_speech_samples) / SAMPLE_RATE if n_speech_samples else None,
        skipped=tuple(_in_seconds(clips.within_all(_skipped(parts, n_samples)), MIN_GAP)),
        truncated=truncated,
        problem="; ".join(filter(None, (problem, missing_clips(last.source, duration_s), remark))) or None,
        declared_s=last.declared_s,
        streams=last.streams,
        clips=() if clips.is_whole else tuple(_in_seconds(clips.within(0, n_samples))),
    )


def missing_clips(source: AudioSource, duration_s: float) -> str | None:
    """Returns a sentence about clips that begin after the end of a recording; None if there are none.

    Args:
        source: the recording.
        duration_s: seconds of it that could be decoded.
    """
    offset_s, clips = source.start_s or 0.0, source.clip_timestamps
    missing = [clip for clip in clips if clip[0] >= duration_s]
    if not missing:
        return None
    named = ", ".join(f"{offset_s + start_s:g} s" for start_s, _ in missing[:MAX_NAMED])
    more = ", ..." if len(missing) > MAX_NAMED else ""
    count = f"{len(missing)} of {len(clips)} clips begin" if len(clips) > 1 else "the clip begins"
    return f"{count} after the end of the recording, at {offset_s + duration_s:.2f} s: {named}{more}"


def _wanted_s(source: AudioSource) -> float:
    """Returns the end of the last clip in seconds; infinite if it is that of the recording."""
    stop = Clips.of(source.clip_timestamps).stop
    return math.inf if stop == END else stop / SAMPLE_RATE


def _skipped(parts: Iterable[RecordingPart], n_samples: int) -> Iterator[tuple[int, int]]:
    """Yields the stretches that no window covers, in samples."""
    covered = 0
    for part in parts:
        if part.covered is not None:
            first, last = part.covered
            yield covered, first
            yield from part.gaps
            covered = max(covered, last)
    yield covered, n_samples


def _in_seconds(intervals: Iterable[tuple[int, int]], min_samples: int = 0) -> Iterator[tuple[float, float]]:
    """Yields intervals, given in samples, in seconds, without those that are shorter than the minimum."""
    for start, stop in intervals:
        if stop - start >= min_samples:
            yield start / SAMPLE_RATE, stop / SAMPLE_RATE
