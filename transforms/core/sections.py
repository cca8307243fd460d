"""Sections of a long recording: fixed times at which processing starts anew, so that it can start there.

Windows depend on the audio before them: the resampler and the voice activity detector have state, and windows
are packed one after the other. All state is reset at the bound between two sections, so windows are the same
whether one worker reads the whole recording or ten workers read parts of it.
"""

from __future__ import annotations

from dataclasses import dataclass

SPAN_S = 1800
"""Seconds of a recording that are committed at a time, at most, unless others are given."""
BLOCK_S = 30
"""Seconds of audio decoded at a time; sections, ranges and blocks start at multiples of it."""

WARMUP_S = 2 * BLOCK_S
"""Seconds of warm-up before a section; the section before ends within them, at a pause.
A whole number of the VAD's chunks of 32 ms."""


@dataclass(frozen=True)
class Sections:
    """Divides a recording into sections, numbered from 0.

    Args:
        length_s: seconds of each; a multiple of `WARMUP_S`, and at least twice that.

    Raises:
        ValueError: `length_s` is not such a multiple.
    """

    length_s: int = 1800

    def __post_init__(self) -> None:
        if self.length_s % WARMUP_S or self.length_s < 2 * WARMUP_S:
            allowed = f"a multiple of {WARMUP_S} s, from {2 * WARMUP_S} s"
            raise ValueError(f"sections of {self.length_s} s: they must be {allowed}")

    def at(self, time_s: float) -> int:
        """Returns the number of the section that contains a time."""
        return int(time_s // self.length_s)

    def start_s(self, number: int) -> int:
        """Returns the start of a section, except that it may begin earlier, at a pause before its bound."""
        return number * self.length_s

    def warmup_start_s(self, number: int) -> int:
        """Returns the start of a section's warm-up, where all state is reset."""
        return max(self.start_s(number) - WARMUP_S, 0)
