"""Speech packed into windows: silence is cut out, and windows end where somebody pauses.

The intervals in which somebody speaks are put one behind the other until a window is full. Where nobody
pauses for longer than a window, the windows are those of the plain grid, which share a few seconds; no others
share anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from model.interface import SAMPLE_RATE
from transforms.core.types import Intervals
from transforms.windows.speech_intervals import SpeechPart
from transforms.windows.splices import joined

LEAST_FILL = 2 / 3
"""Of a window, how much must be full before it may end. With 1, all are as full as they can be, wherever they
then end."""

LONG_PAUSE = SAMPLE_RATE
"""A pause of 1 s is as good a place to end as any longer one: of these, the window ends in the last."""


@dataclass(frozen=True)
class PackedWindow:
    """What a window is made of.

    Attributes:
        intervals: of speech, in samples of the recording; they may touch.
        n_own: how many samples, from the first on, no later window has.
    """

    intervals: Intervals
    n_own: int

    @property
    def pieces(self) -> Intervals:
        """The intervals, with those that touch as one."""
        return joined(self.intervals)


class Packing:
    """Takes speech as it is found, and gives windows as soon as it is sure what is in them.

    An interval that does not fit ends the window: in the longest of those pauses that leave it `least_fill`
    full, and after which all fits into the next one. An interval longer than a window is cut in any case: a
    window that would end far from full before it takes its beginning.

    Args:
        window_samples: the most in a window.
        hop_samples: from one window's start to the next one's, where nobody pauses.
        least_fill: see `LEAST_FILL`.
    """

    def __init__(self, window_samples: int, hop_samples: int, least_fill: float = LEAST_FILL) -> None:
        self._window_samples = window_samples
        self._hop_samples = hop_samples
        self._least_fill = least_fill
        self._packed: list[SpeechPart] = []  # whole intervals that fit into one window
        self._last: SpeechPart | None = None  # the interval behind them, which may go on

    @property
    def waiting(self) -> Intervals:
        """The speech that was added and that windows to come may have, in samples of the recording."""
        return _intervals([*self._packed, *([] if self._last is None else [self._last])])

    def add(self, parts: Iterable[SpeechPart]) -> Iterator[PackedWindow]:
        """Packs more of a recording's speech, and yields the windows that are full.

        Args:
            parts: that follow those before.
        """
        for part in parts:
            if self._last is not None and not part.pause:
                self._last = self._last._replace(stop=part.stop)
            else:
                yield from self._pack()
                self._last = part
            while self._last.n_samples > self._window_samples:
                yield from self._cut(self._last)

    def finish(self) -> Iterator[PackedWindow]:
        """The windows that are left when nobody speaks any more."""
        yield from self._pack()
        if self._packed:
            yield self._close(len(self._packed))

    def _pack(self) -> Iterator[PackedWindow]:
        """Packs the last interval: it is whole, and no longer than a window."""
        if self._last is None:
            return
        if _length(self._packed) + self._last.n_samples > self._window_samples:
            yield self._close(self._best_end(self._last))
        self._packed.append(self._last)
        self._last = None

    def _best_end(self, following: SpeechPart) -> int:
        """Behind how many of the intervals packed the window ends, if this one does not fit."""
        best, longest = len(self._packed), 0
        for n, (_, after) in enumerate(pairwise([*self._packed, following]), start=1):
            kept, rest = _length(self._packed[:n]), _length(self._packed[n:])
            fits = rest + following.n_samples <= self._window_samples
            pause = min(after.pause, LONG_PAUSE)
            if fits and kept >= self._least_fill * self._window_samples and pause >= longest:
                best, longest = n, pause
        return best

    def _cut(self, long: SpeechPart) -> Iterator[PackedWindow]:
        """Takes a window's worth off an interval that is longer than a window."""
        n_packed = _length(self._packed)  # filled up, the window would own `hop_samples`
        if self._packed and n_packed >= self._least_fill * self._hop_samples:
            yield self._close(len(self._packed))
            n_packed = 0
        stop = long.start + self._window_samples - n_packed
        yield PackedWindow(_intervals([*self._packed, long._replace(stop=stop)]), self._hop_samples)
        self._packed = []
        self._last = long._replace(start=stop - (self._window_samples - self._hop_samples))

    def _close(self, n: int) -> PackedWindow:
        """A window of the first `n` intervals packed."""
        closed, self._packed = self._packed[:n], self._packed[n:]
        return PackedWindow(_intervals(closed), n_own=_length(closed))


def _length(parts: Sequence[SpeechPart]) -> int:
    return sum(part.n_samples for part in parts)


def _intervals(parts: Sequence[SpeechPart]) -> Intervals:
    return tuple((part.start, part.stop) for part in parts)
