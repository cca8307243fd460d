"""Where the windows of one recording are, found while it is read: at given places, or over its speech."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.interface import SAMPLE_RATE, SPEECH_CHUNK
from transforms.core.sections import WINDOWS, Chapters
from transforms.core.types import Intervals
from transforms.windows.packing import LONG_PAUSE, PackedWindow, Packing
from transforms.windows.speech_intervals import PADDING_SAMPLES, SpeechPart, whole_intervals

SEARCHED = 30 * SAMPLE_RATE
"""Samples before a chapter's bound within which it ends in a pause, if there is one."""


class Heard(NamedTuple):
    """What is new of a recording.

    Attributes:
        n_samples: read so far.
        parts: of speech, that were found since the last time.
        settled: no part to come has a sample before this one; all that was read where nobody listens.
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
        index: see `transforms.core.types.Window`.
        place: the sample by which it is known what span it belongs to: where it starts, but for a chapter's
            first ones, which may start before the chapter.
        pieces: of the recording, in samples.
        n_own: see `transforms.core.types.Window`.
        intervals: the speech that it was made of, in samples of the recording; None where it lies wherever
            somebody may speak or not.
    """

    index: int
    place: int
    pieces: Intervals
    n_own: int
    intervals: Intervals | None = None


class Cutter(Protocol):
    """Finds windows of one recording. What it finds does not depend on how the recording is read."""

    @property
    def done(self) -> bool:
        """Whether there are no more, however the recording goes on."""

    @property
    def place(self) -> int:
        """No window to come has a place before this sample."""

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
    def place(self) -> int:
        """See `Cutter`."""
        return self._n_samples if self._next is None else self._next[0]

    @property
    def needed(self) -> Intervals:
        """See `Cutter`."""
        return ((self.listens_from, self._n_samples),)

    @property
    def listens_from(self) -> int:
        """See `Cutter`."""
        return min(self.place, self._n_samples)

    def windows(self, heard: Heard) -> Iterator[PlannedWindow]:
        """See `Cutter`. No window follows one that reaches the end."""
        self._n_samples = heard.n_samples
        while self._next is not None:
            start, index = self._next
            stop = start + self._window_samples
            # The chunk that it ends in must be heard, too, and with no more samples it may be the last one.
            is_complete = stop + SPEECH_CHUNK <= heard.n_samples and heard.settled >= start
            if not self._is_there(start, index) or not (heard.ended or is_complete):
                return
            is_last = heard.ended and stop >= heard.n_samples
            stop = min(stop, heard.n_samples)
            n_own = 0
            if self._on_grid(start, index):
                n_own = stop - start if is_last else self._hop_samples
            yield PlannedWindow(index, start, ((start, stop),), n_own)
            self._next = None if is_last else next(self._places, None)

    def _is_there(self, start: int, index: int) -> bool:
        """Whether the recording, as far as it was read, goes on behind the window before."""
        shared = self._window_samples - self._hop_samples if index and self._on_grid(start, index) else 0
        return start + shared < self._n_samples

    def _on_grid(self, start: int, index: int) -> bool:
        return start == index * self._hop_samples


class SpeechWindows:
    """Windows packed with speech, chapter by chapter.

    Args:
        pack: makes a packing of nothing yet.
        chapters: of the recording.
        first: the chapter to begin with; what is heard before it is not packed.
        shared: samples that two chapters share between which nobody pauses.
        wanted: indices of the windows wanted; None for all.
    """

    def __init__(
        self,
        pack: Callable[[], Packing],
        chapters: Chapters,
        first: int = 0,
        shared: int = 0,
        wanted: frozenset[int] | None = None,
    ) -> None:
        self._pack = pack
        self._chapters = chapters
        self._first = first
        self._shared = shared
        self._wanted = wanted
        self._chapter = max(first - 1, 0)  # it ends while one listens for the first
        self._packing = pack()
        self._n_packed = 0  # windows of the chapter
        self._waiting: list[SpeechPart] = []  # of this chapter, or of the next one
        self._heard = Heard(0, [], 0, ended=False)

    @property
    def done(self) -> bool:
        """See `Cutter`."""
        return self._wanted is not None and self._next_index > max(self._wanted, default=-1)

    @property
    def place(self) -> int:
        """See `Cutter`."""
        ahead = [*self._packing.waiting, *self._parts, (self._heard.settled, self._heard.settled)]
        return max(ahead[0][0], self._chapters.start_s(self._chapter) * SAMPLE_RATE)

    @property
    def needed(self) -> Intervals:
        """See `Cutter`."""
        return (*self._packing.waiting, *self._parts, (self._heard.settled, self._heard.n_samples))

    @property
    def listens_from(self) -> int:
        """See `Cutter`: of speech the packing knows."""
        return self._heard.n_samples

    def windows(self, heard: Heard) -> Iterator[PlannedWindow]:
        """See `Cutter`."""
        self._heard = heard
        self._waiting += heard.parts
        while True:
            bound = self._chapters.start_s(self._chapter + 1) * SAMPLE_RATE
            # With no more than all before the bound, it is not known who speaks on behind it.
            if heard.n_samples <= bound or not (heard.ended or heard.settled > bound):
                break
            ending, self._waiting = divided(self._waiting, bound, self._shared)
            yield from self._planned(self._packing.add(ending))
            yield from self._planned(self._packing.finish())
            self._chapter, self._packing, self._n_packed = self._chapter + 1, self._pack(), 0
        yield from self._planned(self._packing.add(self._taken(heard.ended)))
        if heard.ended:
            yield from self._planned(self._packing.finish())

    @property
    def _next_index(self) -> int:
        return self._chapter * WINDOWS + self._n_packed

    @property
    def _parts(self) -> Intervals:
        return tuple((part.start, part.stop) for part in self._waiting)

    def _taken(self, ended: bool) -> list[SpeechPart]:
        """The parts that are this chapter's, however it ends."""
        undecided = self._chapters.heard_from_s(self._chapter + 1) * SAMPLE_RATE
        n = sum(ended or part.start < undecided for part in self._waiting)
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return taken

    def _planned(self, packed: Iterable[PackedWindow]) -> Iterator[PlannedWindow]:
        for window in packed:
            index, start = self._next_index, self._chapters.start_s(self._chapter) * SAMPLE_RATE
            self._n_packed += 1
            if self._chapter >= self._first and (self._wanted is None or index in self._wanted):
                place = max(window.pieces[0][0], start)
                yield PlannedWindow(index, place, window.pieces, window.n_own, window.intervals)


def divided(
    parts: Sequence[SpeechPart], bound: int, shared: int
) -> tuple[list[SpeechPart], list[SpeechPart]]:
    """Where a chapter ends: the parts of speech before that and behind it.

    That is in the longest pause of the last 30 s before the bound, and of those of a second and more the last
    one. Where nobody pauses it is the bound, and what follows has the last seconds before it, too.

    Args:
        parts: from `LEAD_S` before the bound, in order, to one behind the bound if somebody speaks on there.
        bound: sample at which the chapter should end.
        shared: samples before the bound that both have when nobody pauses.
    """
    intervals = [whole for whole in whole_intervals(parts) if whole.start < bound]
    pauses = [
        (min(part.pause, LONG_PAUSE), part.start)
        for part in intervals
        if part.pause and part.start >= bound - SEARCHED
    ]
    last_stop = intervals[-1].stop if intervals else 0
    if last_stop <= bound:
        pauses.append((min(bound - last_stop + PADDING_SAMPLES, LONG_PAUSE), bound))
    if pauses:
        _, place = max(pauses)
        return [part for part in parts if part.start < place], [part for part in parts if part.start >= place]
    ending = [part._replace(stop=min(part.stop, bound)) for part in parts if part.start < bound]
    begins = max(bound - shared, intervals[-1].start)
    following = [part._replace(start=max(part.start, begins)) for part in parts if part.stop > begins]
    return ending, following
