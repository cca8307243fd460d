"""Fixed places at which the reading of a long recording begins anew, so that it may be taken up there.

What is heard in a recording depends on what came before: the resampler and the voice-activity detector have
a memory, and a window is packed behind the one before it. At the bound between two chapters nothing is
remembered, whoever reads: windows are the same whether one worker reads all of a recording or ten read parts.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_S = 30
"""Seconds of audio that are decoded at a time; whatever has a place of its own is at a multiple of it."""

LEAD_S = 2 * BLOCK_S
"""Seconds before a chapter from which on it is heard: within them the chapter before ends, in a pause.
They are whole chunks of 32 ms, as the speech detector has them."""

WINDOWS = 1 << 20
"""The windows of a chapter are numbered from this times its own number on."""


@dataclass(frozen=True)
class Chapters:
    """The chapters of a recording, counted from 0.

    Args:
        length_s: seconds in each; a multiple of `LEAD_S`, and at least twice that.

    Raises:
        ValueError: it is not.
    """

    length_s: int = 1800

    def __post_init__(self) -> None:
        if self.length_s % LEAD_S or self.length_s < 2 * LEAD_S:
            raise ValueError(
                f"chapters of {self.length_s} s: they must be a multiple of {LEAD_S} s, from {2 * LEAD_S} s"
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


def follows(left: int, right: int) -> bool:
    """Whether the window of the second index comes right behind that of the first one, which is in the plan.

    Of a chapter's last window only that is known which is there: then they may be a hole apart.
    """
    return right == left + 1 or (right % WINDOWS == 0 and right // WINDOWS == left // WINDOWS + 1)
