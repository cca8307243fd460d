"""Packs speech into windows: silence is cut out, and windows end in pauses.

Intervals of speech are put one behind the other until a window is full. Where speech continues without a
pause for longer than a window, the windows have a fixed stride and share a few seconds. No other windows
share samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from model.interface import SAMPLE_RATE
from transforms.core.types import Intervals
from transforms.windows.speech_intervals import SpeechPart
from transforms.windows.splices import joined

MIN_FILL = 2 / 3
"""Fraction of a window that must be full before the window may end in a pause. With 1, every window is as
full as possible, however short the pause is that it then ends in."""

LONG_PAUSE = SAMPLE_RATE
"""Samples, 1 s. Pauses of this length and more are equally good ends of a window: the last one is used."""


@dataclass(frozen=True)
class PackedWindow:
    """The speech in a window.

    Attributes:
        intervals: intervals of speech, in samples of the recording; they may touch.
        n_unshared: samples, from the first on, that no later window has.
    """

    intervals: Intervals
    n_unshared: int

    @property
    def stretches(self) -> Intervals:
        """The intervals, where those that touch are one."""
        return joined(self.intervals)


class Packing:
    """Packs speech as it is found, and yields windows as soon as their content is certain.

    An interval that does not fit ends the window. The window ends in the longest of the pauses that leave it
    at least `min_fill` full and after which the rest fits into the next one. An interval longer than a window
    is cut in any case: its beginning fills up the window before it, if that would end far from full.

    Args:
        window_samples: maximum samples in a window.
        hop_samples: samples from the start of one window to the next where there is no pause.
        min_fill: see `MIN_FILL`.
    """

    def __init__(self, window_samples: int, hop_samples: int, min_fill: float = MIN_FILL) -> None:
        self._window_samples = window_samples
        self._hop_samples = hop_samples
        self._min_fill = min_fill
        self._packed: list[SpeechPart] = []  # whole intervals that fit into one window
        self._last: SpeechPart | None = None  # the interval behind them, which may continue

    @property
    def waiting(self) -> Intervals:
        """The speech that was added and that later windows may have, in samples of the recording."""
        return _intervals([*self._packed, *([] if self._last is None else [self._last])])

    def add(self, parts: Iterable[SpeechPart]) -> Iterator[PackedWindow]:
        """Packs more speech of a recording, and yields the windows that are full.

        Args:
            parts: parts of speech that follow those added before.
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
        """Yields the windows that are left when no more speech follows."""
        yield from self._pack()
        if self._packed:
            yield self._close(len(self._packed))

    def _pack(self) -> Iterator[PackedWindow]:
        """Packs the last interval, which is whole and not longer than a window."""
        if self._last is None:
            return
        if _length(self._packed) + self._last.n_samples > self._window_samples:
            yield self._close(self._best_end(self._last))
        self._packed.append(self._last)
        self._last = None

    def _best_end(self, following: SpeechPart) -> int:
        """Returns the number of packed intervals after which the window ends, as `following` does not fit."""
        best, longest = len(self._packed), 0
        for n, (_, after) in enumerate(pairwise([*self._packed, following]), start=1):
            kept, rest = _length(self._packed[:n]), _length(self._packed[n:])
            fits = rest + following.n_samples <= self._window_samples
            pause = min(after.pause, LONG_PAUSE)
            if fits and kept >= self._min_fill * self._window_samples and pause >= longest:
                best, longest = n, pause
        return best

    def _cut(self, long: SpeechPart) -> Iterator[PackedWindow]:
        """Cuts one window off an interval that is longer than a window."""
        n_packed = _length(self._packed)  # filled up, the window would have `hop_samples` unshared ones
        if self._packed and n_packed >= self._min_fill * self._hop_samples:
            yield self._close(len(self._packed))
            n_packed = 0
        stop = long.start + self._window_samples - n_packed
        yield PackedWindow(_intervals([*self._packed, long._replace(stop=stop)]), self._hop_samples)
        self._packed = []
        self._last = long._replace(start=stop - (self._window_samples - self._hop_samples))

    def _close(self, n: int) -> PackedWindow:
        """Removes the first `n` packed intervals and returns the window made of them."""
        closed, self._packed = self._packed[:n], self._packed[n:]
        return PackedWindow(_intervals(closed), n_unshared=_length(closed))


def _length(parts: Sequence[SpeechPart]) -> int:
    return sum(part.n_samples for part in parts)


def _intervals(parts: Sequence[SpeechPart]) -> Intervals:
    return tuple((part.start, part.stop) for part in parts)
