"""Converts times of a part of a file to times of the file."""

from __future__ import annotations

from dataclasses import replace

from transforms.core.types import Boundary, Segment, Transcript, Untranscribed, Word


def shifted(transcript: Transcript, by_s: float) -> Transcript:
    """Returns the transcript with all times later by `by_s` seconds; `duration_s` does not change."""
    if not by_s:
        return transcript
    return replace(
        transcript,
        segments=tuple(shifted_segment(segment, by_s) for segment in transcript.segments),
        skipped=tuple((start_s + by_s, end_s + by_s) for start_s, end_s in transcript.skipped),
        untranscribed=tuple(_untranscribed(one, by_s) for one in transcript.untranscribed),
        clips=tuple((start_s + by_s, end_s + by_s) for start_s, end_s in transcript.clips),
        boundaries=tuple(_boundary(boundary, by_s) for boundary in transcript.boundaries),
    )


def shifted_segment(segment: Segment, by_s: float) -> Segment:
    """Returns the segment with all times later by `by_s` seconds."""
    words = tuple(_word(word, by_s) for word in segment.words)
    return replace(segment, start_s=segment.start_s + by_s, end_s=segment.end_s + by_s, words=words)


def _word(word: Word, by_s: float) -> Word:
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


def _untranscribed(one: Untranscribed, by_s: float) -> Untranscribed:
    return replace(one, start_s=one.start_s + by_s, end_s=one.end_s + by_s)


def _boundary(boundary: Boundary, by_s: float) -> Boundary:
    return replace(boundary, time_s=boundary.time_s + by_s)
