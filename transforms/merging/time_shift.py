"""Times of a part of a file as times of the file, so that what is said can be found in it."""

from __future__ import annotations

from dataclasses import replace

from transforms.core.types import Boundary, Segment, Transcript, Word


def moved(transcript: Transcript, by_s: float) -> Transcript:
    """The transcript with each of its times later by some seconds; `duration_s` stays its own."""
    if not by_s:
        return transcript
    return replace(
        transcript,
        segments=tuple(_segment(segment, by_s) for segment in transcript.segments),
        skipped=tuple((start_s + by_s, end_s + by_s) for start_s, end_s in transcript.skipped),
        boundaries=tuple(_boundary(boundary, by_s) for boundary in transcript.boundaries),
    )


def _segment(segment: Segment, by_s: float) -> Segment:
    words = tuple(_word(word, by_s) for word in segment.words)
    return replace(segment, start_s=segment.start_s + by_s, end_s=segment.end_s + by_s, words=words)


def _word(word: Word, by_s: float) -> Word:
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


def _boundary(boundary: Boundary, by_s: float) -> Boundary:
    return replace(boundary, time_s=boundary.time_s + by_s)
