"""Accepted decodings of a window, and what was dropped of it; positions are samples of the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from model.interface import Segment, WindowResult


@dataclass(frozen=True)
class DecodePass:
    """The accepted decoding of a window, or of a piece of it.

    Attributes:
        offset: the sample of the window at which it begins.
        result: result of the model.
        fallback: reason to reject the decoding at the first temperature; None if it was accepted.
    """

    offset: int
    result: WindowResult
    fallback: str | None = None

    def placed(self) -> Iterator[tuple[int, int, Segment]]:
        """Yields (start, stop) in samples of the window, and the segment, of each segment."""
        for segment in self.result.segments:
            yield self.offset + segment.start, self.offset + segment.stop, segment


@dataclass(frozen=True)
class DroppedRange:
    """Samples of a window, `start` to `stop`, that have no text, or whose text was dropped.

    Attributes:
        reason: see `Untranscribed`.
        text: the text that was dropped; empty if there was none.
    """

    start: int
    stop: int
    reason: str
    text: str = ""


def emptied(one: DecodePass) -> DecodePass:
    """Returns a pass without its text: it has the language and the scores of the window alone."""
    return replace(one, result=replace(one.result, segments=(), repeated=False))


def in_time_order(
    passes: Sequence[DecodePass], added: Sequence[DecodePass], replaced: Sequence[tuple[int, int]] = ()
) -> tuple[DecodePass, ...]:
    """Returns passes with others added, divided so that all segments are in order of time.

    The first one is of the first pass, which has the language and the scores of the window; it may be empty.

    Args:
        passes: the accepted passes, at least one.
        added: passes over pieces that the others left out.
        replaced: (start, stop) of the segments of `passes` that are left out.
    """
    placed = [
        (start, number, segment)
        for number, one in enumerate((*passes, *added))
        for start, stop, segment in one.placed()
        if number >= len(passes) or (start, stop) not in replaced
    ]
    placed.sort(key=lambda item: item[0])
    last = {number: segment for _, number, segment in placed}
    divided = []
    for number, group in groupby(placed, key=lambda item: item[1]):
        one = (*passes, *added)[number]
        segments = tuple(segment for *_, segment in group)
        repeated = one.result.repeated and segments[-1] is last[number]  # the repetition is at its end
        divided.append(replace(one, result=replace(one.result, segments=segments, repeated=repeated)))
    if not placed or placed[0][1] != 0:
        divided.insert(0, emptied(passes[0]))
    return tuple(divided)
