"""Where the windows of one recording are, found while it is read: at given places, or over its speech."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.interface import SPEECH_CHUNK
from transforms.packing import Packing
from transforms.speech import SpeechPart
from transforms.types import Intervals


class Heard(NamedTuple):
    """What is new of a recording.

    Attributes:
        n_samples: read so far.
        parts: of speech, that were found since the last time.
        settled: no part to come has a sample before this one.
        ended: whether all of the recording was read.
    """

    n_samples: int
    parts: list[SpeechPart]
    settled: int
    ended: bool


@dataclass(frozen=True)
class PlannedWindow:
    """A window of which all samples were read.

    Attributes:
        index: see `transforms.types.Window`.
        pieces: of the recording, in samples.
        n_own: see `transforms.types.Window`.
        intervals: the speech that it was made of, in samples of the recording; None where it lies wherever
            somebody may speak or not.
    """

    index: int
    pieces: Intervals
    n_own: int
    intervals: Intervals | None = None


class Cutter(Protocol):
    """Finds windows of one recording. What it finds does not depend on how the recording is read."""

    @property
    def done(self) -> bool:
        """Whether there are no more, however the recording goes on."""

    @property
    def needed(self) -> Intervals:
        """Samples read already that windows to come may have, in order."""

    @property
    def listens_from(self) -> int:
        """Sample from which on must be known what was heard in windows to come."""

    def windows(self, heard: Heard) -> Iterator[PlannedWindow]:
        """The windows that are complete now; all of them must be taken."""


class FixedWindows:
    """Windows of one length at given places.

    Args:
        places: first sample and index of each, in order; the last is the first one that reaches the
            recording's end.
        window_samples: samples in each, but for those that the recording's end cuts.
        hop_samples: from window to window in the grid; a window off the grid owns nothing.
    """

    def __init__(self, places: Iterable[tuple[int, int]], window_samples: int, hop_samples: int) -> None:
        self._places = iter(places)
        self._next = next(self._places, None)
        self._window_samples = window_samples
        self._hop_samples = hop_samples
        self._n_samples = 0

    @property
    def done(self) -> bool:
        """See `Cutter`."""
        return self._next is None

    @property
    def needed(self) -> Intervals:
        """See `Cutter`."""
        return ((self.listens_from, self._n_samples),)

    @property
    def listens_from(self) -> int:
        """See `Cutter`."""
        return self._n_samples if self._next is None else min(self._next[0], self._n_samples)

    def windows(self, heard: Heard) -> Iterator[PlannedWindow]:
        """See `Cutter`. A window that would start behind the end is not there."""
        self._n_samples = heard.n_samples
        while self._next is not None:
            start, index = self._next
            stop = start + self._window_samples
            # The chunk that it ends in must be heard, too, and with no more samples it may be the last one.
            if start >= heard.n_samples or (not heard.ended and stop + SPEECH_CHUNK > heard.n_samples):
                return
            is_last = heard.ended and stop >= heard.n_samples
            stop = min(stop, heard.n_samples)
            on_grid = start == index * self._hop_samples
            n_own = (stop - start if is_last else self._hop_samples) if on_grid else 0
            yield PlannedWindow(index, ((start, stop),), n_own)
            self._next = None if is_last else next(self._places, None)


class SpeechWindows:
    """Windows packed with speech.

    Args:
        packing: of nothing yet.
        wanted: their indices; None for all.
    """

    def __init__(self, packing: Packing, wanted: frozenset[int] | None) -> None:
        self._packing = packing
        self._wanted = wanted
        self._index = 0
        self._heard = Heard(0, [], 0, ended=False)

    @property
    def done(self) -> bool:
        """See `Cutter`."""
        return self._wanted is not None and self._index > max(self._wanted, default=-1)

    @property
    def needed(self) -> Intervals:
        """See `Cutter`."""
        return (*self._packing.waiting, (self._heard.settled, self._heard.n_samples))

    @property
    def listens_from(self) -> int:
        """See `Cutter`: of speech the packing knows."""
        return self._heard.n_samples

    def windows(self, heard: Heard) -> Iterator[PlannedWindow]:
        """See `Cutter`."""
        self._heard = heard
        packed = self._packing.add(heard.parts)
        for window in itertools.chain(packed, self._packing.finish() if heard.ended else ()):
            if self._wanted is None or self._index in self._wanted:
                yield PlannedWindow(self._index, window.pieces, window.n_own, window.intervals)
            self._index += 1
