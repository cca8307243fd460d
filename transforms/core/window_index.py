"""Window indices: integers that identify and order the windows of a recording.

The windows of the plan have indices of 0 and more (`WindowId.to_index`). An extra window, which is decoded
about the boundary after a window of the plan, has a negative one (`extra_index`). The commit log stores these
integers and results are sorted by them, so the encoding is a file format: only this module knows it.
"""

from __future__ import annotations

from typing import NamedTuple

WINDOWS_PER_SECTION = 1 << 20
"""Indices reserved for each section: far more than it has windows."""


class WindowId(NamedTuple):
    """A window of the plan.

    Attributes:
        section: the section of the recording (`transforms.core.sections`) that it belongs to. Windows at a
            fixed stride are numbered through the recording, as if it were one section.
        number: its position among the windows of the section, from 0.
    """

    section: int
    number: int

    def to_index(self) -> int:
        """Returns the index of the window; indices are in the order of the recording."""
        return self.section * WINDOWS_PER_SECTION + self.number

    @classmethod
    def from_index(cls, index: int) -> WindowId:
        """Returns the window of the plan with that index, 0 or more."""
        return cls(*divmod(index, WINDOWS_PER_SECTION))


def is_next(left: int, right: int) -> bool:
    """Whether the window with the second index comes next to the one with the first, both of the plan.

    How many windows a section has is not known here. So the first window of a section counts as next to every
    window of the section before it, even if the last ones of that section are missing.
    """
    before, after = WindowId.from_index(left), WindowId.from_index(right)
    return right == left + 1 or (after.number == 0 and after.section == before.section + 1)


def extra_index(left: int) -> int:
    """Returns the index of the extra window about the boundary after window `left` of the plan."""
    return -left - 1


def left_of_extra(index: int) -> int:
    """Returns the index of the window of the plan after which an extra window has its boundary."""
    return -index - 1


def is_extra(index: int) -> bool:
    """Whether the index is that of an extra window."""
    return index < 0
