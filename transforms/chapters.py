"""Fixed places at which the reading of a long recording begins anew, so that it may be taken up there.

What is heard in a recording depends on what came before: the resampler and the voice-activity detector have
a memory, and a window is packed behind the one before it. At the bound between two chapters nothing is
remembered, whoever reads: windows are the same whether one worker reads all of a recording or ten read parts.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_S = 30
"""Seconds of audio that are decoded at a time; whatever has a place of its own is at a multiple of it."""

LEAD_S = BLOCK_S
"""Seconds before a chapter from which on it is heard: within them the chapter before ends, in a pause."""


@dataclass(frozen=True)
class Chapters:
    """The chapters of a recording, counted from 0.

    Args:
        length_s: seconds in each; a multiple of `BLOCK_S`, and at least twice that.

    Raises:
        ValueError: it is not.
    """

    length_s: int = 1800

    def __post_init__(self) -> None:
        if self.length_s % BLOCK_S or self.length_s < 2 * LEAD_S:
            raise ValueError(
                f"chapters of {self.length_s} s: they must be a multiple of {BLOCK_S} s, from {2 * LEAD_S}"
            )

    def at(self, time_s: float) -> int:
        """The number of the chapter that a time is in."""
        return int(time_s // self.length_s)

    def start_s(self, number: int) -> int:
        """Where a chapter begins, but for the pause that is looked for before it."""
        return number * self.length_s

    def heard_from_s(self, number: int) -> int:
        """Where hearing begins anew for a chapter: all before is forgotten there."""
        return max(self.start_s(number) - LEAD_S, 0)
