"""Finds the windows of a recording while it is read: at fixed places, or packed with its speech."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, SPEECH_DELAY
from transforms.core.clips import Clips
from transforms.core.sections import Sections
from transforms.core.types import Intervals
from transforms.core.window_index import WindowId
from transforms.windows.packing import LONG_PAUSE, PackedWindow, Packing
from transforms.windows.speech_intervals import PADDING_SAMPLES, SpeechPart, whole_intervals

SEARCH_SAMPLES = 30 * SAMPLE_RATE
"""Samples before the nominal end of a section in which a pause is searched for, to end the section there."""

WHOLE = Clips()


class StreamState(NamedTuple):
    """State of a recording that is being read, after each block.

    Attributes:
        n_samples: samples read so far.
        parts: parts of speech that were found since the last state.
        settled: no later part of speech has a sample before this one; equal to `n_samples` without VAD.
        ended: whether the recording was read to its end.
    """

    n_samples: int
    parts: list[SpeechPart]
    settled: int
    ended: bool


@dataclass(frozen=True)
class PlannedWindow:
    """A window whose samples were all read.

    Attributes:
        index: see `transforms.core.types.Window`.
        position: the sample that decides which span the window belongs to: its first sample, but never one
            before its section. The first windows of a section may start before the section does.
        stretches: stretches of the recording, in samples.
        n_unshared: see `transforms.core.types.Window`.
        intervals: the speech that it was made of, in samples of the recording; None for a window that was
            cut without regard to speech.
    """

    index: int
    position: int
    stretches: Intervals
    n_unshared: int
    intervals: Intervals | None = None


class WindowCutter(Protocol):
    """Finds the windows of one recording. They do not depend on the blocks in which it is read."""

    @property
    def done(self) -> bool:
        """Whether no further window follows, however the recording continues."""

    @property
    def position(self) -> int:
        """No later window has a position before this sample."""

    @property
    def needed(self) -> Intervals:
        """Samples read so far that later windows may contain, in order."""

    @property
    def speech_needed_from(self) -> int:
        """The first sample for which later windows need the speech probabilities."""

    def windows(self, state: StreamState) -> Iterator[PlannedWindow]:
        """Yields the windows that are complete now; the caller must consume all of them."""


class Place(NamedTuple):
    """Where a window at a fixed place lies, in samples.

    Attributes:
        start: its first sample.
        window_index: `index` of the window, see `transforms.core.types.Window`.
        stop: one past its last sample; the end of the recording may cut it short.
        n_shared: leading samples that the window before it has too.
        hop_samples: samples from its start to the next window at the fixed stride; 0 for one outside of it,
            which has no unshared samples.
        is_last: whether no later window at the fixed stride has a sample of it.
    """

    start: int
    window_index: int
    stop: int
    n_shared: int = 0
    hop_samples: int = 0
    is_last: bool = False


def fixed_stride(clips: Clips, window_samples: int, hop_samples: int, first: int = 0) -> Iterator[Place]:
    """Yields the windows at the fixed stride, which begins anew with each clip; without end for an open clip.

    They are numbered through the recording.

    Args:
        clips: the clips of the recording.
        window_samples: samples in a window; the end of a clip may cut it short.
        hop_samples: samples from one window to the next.
        first: windows that start before this sample are left out.
    """
    n_shared, index = window_samples - hop_samples, 0
    for clip_start, clip_stop in clips.intervals:
        for start in itertools.count(clip_start, hop_samples):
            stop, is_last = min(start + window_samples, clip_stop), start + window_samples >= clip_stop
            if start >= first:
                shared = n_shared if start > clip_start else 0
                yield Place(start, index, stop, shared, hop_samples, is_last)
            index += 1
            if is_last:
                break


class FixedStrideCutter:
    """Cuts windows at fixed places.

    Args:
        places: of the windows, in order; the last window is the first one that reaches the end of the
            recording.
        clips: what a window may have of the recording; the rest is cut out of it.
    """

    def __init__(self, places: Iterable[Place], clips: Clips = WHOLE) -> None:
        self._places = iter(places)
        self._next = next(self._places, None)
        self._clips = clips
        self._n_samples = self._settled = 0

    @property
    def done(self) -> bool:
        """See `WindowCutter`."""
        return self._next is None

    @property
    def position(self) -> int:
        """See `WindowCutter`."""
        position = self._n_samples if self._next is None else self._next.start
        if self._clips.is_whole:
            return position
        return min(position, self._clips.first_from(self._settled))  # the next clip may be hours away

    @property
    def needed(self) -> Intervals:
        """See `WindowCutter`."""
        return ((self.speech_needed_from, self._n_samples),)

    @property
    def speech_needed_from(self) -> int:
        """See `WindowCutter`."""
        return min(self.position, self._n_samples)

    def windows(self, state: StreamState) -> Iterator[PlannedWindow]:
        """See `WindowCutter`. No window follows one that reaches the end."""
        self._n_samples, self._settled = state.n_samples, state.settled
        while self._next is not None:
            place = self._next
            # VAD must have decided on the chunk that the window ends in. Without a sample behind it, it may
            # turn out to be the last one.
            is_complete = (
                place.stop + SPEECH_CHUNK + SPEECH_DELAY <= state.n_samples and state.settled >= place.start
            )
            # The recording, as read so far, must continue after the previous window.
            has_new_samples = place.start + place.n_shared < state.n_samples
            if not has_new_samples or not (state.ended or is_complete):
                return
            ends = state.ended and place.stop >= state.n_samples
            yield from self._planned(place, min(place.stop, state.n_samples), is_last=ends or place.is_last)
            self._next = None if ends else next(self._places, None)

    def _planned(self, place: Place, stop: int, *, is_last: bool) -> Iterator[PlannedWindow]:
        stretches = self._clips.within(place.start, stop)
        n_unshared = stop - place.start if is_last and place.hop_samples else place.hop_samples
        if stretches:
            yield PlannedWindow(place.window_index, place.start, stretches, n_unshared)


class SpeechCutter:
    """Packs windows with speech, section by section, and clip by clip.

    No window has speech of two clips: at a splice in the middle of speech, the model gives text of one clip
    the time of the other.

    Args:
        make_packing: returns an empty packing.
        sections: sections of the recording.
        first: the section to start with; speech before it is not packed.
        shared: samples that two sections share if there is no pause between them.
        wanted: indices of the windows wanted; None for all.
        clips: the clips of the recording, in which all speech lies.
    """

    def __init__(
        self,
        make_packing: Callable[[], Packing],
        sections: Sections,
        first: int = 0,
        shared: int = 0,
        wanted: frozenset[int] | None = None,
        clips: Clips = WHOLE,
    ) -> None:
        self._make_packing = make_packing
        self._sections = sections
        self._first = first
        self._shared = shared
        self._wanted = wanted
        self._clips = clips
        self._section = max(first - 1, 0)  # it ends within the warm-up of the first
        self._packing = make_packing()
        self._clip = 0  # the number of the one that was packed last
        self._n_packed = 0  # windows of the section
        self._waiting: list[SpeechPart] = []  # of this section, or of the next one
        self._state = StreamState(0, [], 0, ended=False)

    @property
    def done(self) -> bool:
        """See `WindowCutter`."""
        return self._wanted is not None and self._next_index > max(self._wanted, default=-1)

    @property
    def position(self) -> int:
        """See `WindowCutter`."""
        ahead = [start for start, _ in (*self._packing.waiting, *self._parts)]
        ahead.append(self._clips.first_from(self._state.settled))
        return max(ahead[0], self._sections.start_s(self._section) * SAMPLE_RATE)

    @property
    def needed(self) -> Intervals:
        """See `WindowCutter`."""
        return (*self._packing.waiting, *self._parts, (self._state.settled, self._state.n_samples))

    @property
    def speech_needed_from(self) -> int:
        """See `WindowCutter`: none, as windows are made of the intervals of speech themselves."""
        return self._state.n_samples

    def windows(self, state: StreamState) -> Iterator[PlannedWindow]:
        """See `WindowCutter`."""
        self._state = state
        self._waiting += state.parts
        while True:
            bound = self._sections.start_s(self._section + 1) * SAMPLE_RATE
            # With samples before the bound only, it is not known whether speech continues behind it.
            if state.n_samples <= bound or not (state.ended or state.settled > bound):
                break
            ending, self._waiting = split_at_section(self._waiting, bound, self._shared)
            yield from self._planned(self._packed(ending))
            yield from self._planned(self._packing.finish())
            self._section, self._packing, self._n_packed = self._section + 1, self._make_packing(), 0
        yield from self._planned(self._packed(self._decided(state.ended)))
        if state.ended or self._clip_has_ended:
            yield from self._planned(self._packing.finish())

    def _packed(self, parts: Iterable[SpeechPart]) -> Iterator[PackedWindow]:
        """Packs speech of the section; before that of another clip, yields the windows that are left."""
        for part in parts:
            clip = self._clips.number_at(part.start)
            if clip != self._clip:
                yield from self._packing.finish()
            self._clip = clip
            yield from self._packing.add([part])

    @property
    def _clip_has_ended(self) -> bool:
        """Whether no more speech of the clip follows that was packed last."""
        return not self._waiting and self._clips.number_at(self._state.settled) > self._clip

    @property
    def _next_index(self) -> int:
        return WindowId(self._section, self._n_packed).to_index()

    @property
    def _parts(self) -> Intervals:
        return tuple((part.start, part.stop) for part in self._waiting)

    def _decided(self, ended: bool) -> list[SpeechPart]:
        """Removes and returns the waiting parts that belong to this section wherever it ends."""
        undecided = self._sections.warmup_start_s(self._section + 1) * SAMPLE_RATE
        n = sum(ended or part.start < undecided for part in self._waiting)
        decided, self._waiting = self._waiting[:n], self._waiting[n:]
        return decided

    def _planned(self, packed: Iterable[PackedWindow]) -> Iterator[PlannedWindow]:
        for window in packed:
            index, start = self._next_index, self._sections.start_s(self._section) * SAMPLE_RATE
            self._n_packed += 1
            if self._section >= self._first and (self._wanted is None or index in self._wanted):
                position = max(window.stretches[0][0], start)
                yield PlannedWindow(index, position, window.stretches, window.n_unshared, window.intervals)


def split_at_section(
    parts: Sequence[SpeechPart], bound: int, shared: int
) -> tuple[list[SpeechPart], list[SpeechPart]]:
    """Splits speech at the end of a section: the parts before it, and the parts after it.

    The section ends in the longest pause of the last 30 s before the bound, and among pauses of 1 s and more
    in the last one. Without a pause it ends at the bound, and the next section repeats the last seconds
    before it.

    Args:
        parts: parts of speech from `WARMUP_S` before the bound on, in order, up to one behind the bound if
            speech continues there.
        bound: sample at which the section should end.
        shared: samples before the bound that both sections have if there is no pause.
    """
    intervals = [whole for whole in whole_intervals(parts) if whole.start < bound]
    pauses = [
        (min(part.pause, LONG_PAUSE), part.start)
        for part in intervals
        if part.pause and part.start >= bound - SEARCH_SAMPLES
    ]
    last_stop = intervals[-1].stop if intervals else 0
    if last_stop <= bound:
        pauses.append((min(bound - last_stop + PADDING_SAMPLES, LONG_PAUSE), bound))
    if pauses:
        _, end = max(pauses)
        return [part for part in parts if part.start < end], [part for part in parts if part.start >= end]
    ending = [part._replace(stop=min(part.stop, bound)) for part in parts if part.start < bound]
    next_start = max(bound - shared, intervals[-1].start)
    following = [part._replace(start=max(part.start, next_start)) for part in parts if part.stop > next_start]
    return ending, following
