"""Recordings into windows of at most 30 s: packed with speech, or on a grid that shares a few seconds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.clip import Clip
from transforms.audio.decoder import AudioReader
from transforms.core.sections import BLOCK_S, WINDOWS, Chapters
from transforms.core.types import AudioSpan, Damage, Intervals, Window
from transforms.windows.cutters import Cutter, FixedWindows, Heard, PlannedWindow, SpeechWindows
from transforms.windows.packing import Packing
from transforms.windows.sample_buffer import HeldSamples
from transforms.windows.speech_tracker import Listener, MakeDetector
from transforms.windows.splices import end_to_end, joined


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut.

    Args:
        chunk_length_s: seconds in a window, at most.
        stride_length_s: seconds that neighbouring windows share, on the grid and where nobody pauses.
        detector: makes what tells where somebody speaks; None to take all for speech, on the grid.
        over_speech: pack windows with speech (`transforms.windows.packing`); else those of the grid are made
        in which
            somebody speaks.
        chapters: at which places the cutting begins anew.

    Raises:
        ValueError: the windows would not move forward, or leave gaps.
    """

    chunk_length_s: float
    stride_length_s: float
    detector: MakeDetector | None = None
    over_speech: bool = True
    chapters: Chapters = field(default_factory=Chapters)

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.window_samples:
            raise ValueError(
                f"windows of {self.window_samples} samples every {self.hop_samples}: the hop must be at "
                "least 1 and at most the window; choose a stride_length_s of at least 0 and less than "
                "chunk_length_s"
            )

    @property
    def window_samples(self) -> int:
        """The most samples in a window."""
        return round(self.chunk_length_s * SAMPLE_RATE)

    @property
    def hop_samples(self) -> int:
        """Samples from one window's start to the next one's, on the grid and where nobody pauses."""
        return self.window_samples - round(self.stride_length_s * SAMPLE_RATE)

    def cutters(self, span: AudioSpan, first: int = 0) -> list[Cutter]:
        """What finds the windows of a span: the same windows, whenever it is read.

        Args:
            span: the windows that are wanted.
            first: the chapter to begin with.
        """
        extra = [(start, index) for index, start in span.extra]
        if self.over_speech and self.detector is not None:
            shared = self.window_samples - self.hop_samples
            packed = SpeechWindows(self._pack, self.chapters, first, shared, span.windows)
            return [packed, self._at(sorted(extra))]
        if span.windows is None:
            start = -(-self.chapters.start_s(first) * SAMPLE_RATE // self.hop_samples)
            return [self._at((index * self.hop_samples, index) for index in itertools.count(start))]
        return [self._at(sorted([*extra, *((index * self.hop_samples, index) for index in span.windows)]))]

    def first_chapter(self, span: AudioSpan) -> int:
        """The chapter to begin with to find the windows that a second look wants."""
        starts = [start for _, start in span.extra]
        if self.over_speech and self.detector is not None:
            chapters = [index // WINDOWS for index in span.windows or ()]
        else:
            starts += [index * self.hop_samples for index in span.windows or ()]
            chapters = []
        return min(chapters + [self.chapters.at(start / SAMPLE_RATE) for start in starts], default=0)

    def _pack(self) -> Packing:
        return Packing(self.window_samples, self.hop_samples)

    def _at(self, places: Iterable[tuple[int, int]]) -> Cutter:
        return FixedWindows(places, self.window_samples, self.hop_samples)


class Reading:
    """The windows of one recording, found while it is read; what was read of it is told range by range.

    Args:
        file: seekable and binary; it stays the caller's to close.
        span: the source, and which of its windows are wanted.
        plan: how to cut it.
        first: the chapter to begin with; 0 of a part of a file.
    """

    def __init__(self, file: BinaryIO, span: AudioSpan, plan: WindowPlan, first: int = 0) -> None:
        self._span, self._plan, self._first = span, plan, first
        source, chapters = span.source, plan.chapters
        self._is_clip = source.start_s is not None or source.end_s is not None
        self._origin_s = (
            int(source.start_s or 0) // BLOCK_S * BLOCK_S
        )  # of the file, whose blocks it keeps to
        first_s = self._origin_s if self._is_clip else chapters.heard_from_s(first)
        self._reader = AudioReader(file, source.channel, chapters=chapters, start_s=first_s)
        self._clip = Clip(source, first_s * SAMPLE_RATE)
        self._listener = Listener(plan.detector, chapters, first)
        self._has_begun = self._has_ended = False

    @property
    def n_samples(self) -> int:
        """Samples at 16 kHz from the recording's start to where it was read; all of them in the end."""
        if self._has_begun or not self._has_ended:
            return self._clip.n_samples
        return min(self._clip.n_samples, round(self._reader.decoded_s * SAMPLE_RATE))

    @property
    def n_channels(self) -> int:
        """Of the file, so far as it was read."""
        return self._reader.n_channels

    def ends_before(self, time_s: int | None) -> bool:
        """Whether the recording was read to its end, and has no sample from that second on."""
        return self._has_ended and (time_s is None or self.n_samples <= time_s * SAMPLE_RATE)

    def windows(self, until_s: int | None = None) -> Iterator[tuple[PlannedWindow, Window | None]]:
        """Decodes the recording and cuts it, holding two windows and a block of it at most.

        Args:
            until_s: seconds behind which no window is wanted; None for all to the recording's end.

        Yields:
            The windows wanted, in order; None in place of one in which nobody speaks. When decoding breaks
            off, the windows that could be made come first.

        Raises:
            AudioError: nothing could be decoded.
        """
        cutters = self._plan.cutters(self._span, self._first)
        first = self._plan.chapters.heard_from_s(self._first) * SAMPLE_RATE
        until = None if until_s is None else until_s * SAMPLE_RATE
        for planned, samples, speech in cut_windows(self._blocks(), self._listener, cutters, first, until):
            audio_id, language = self._span.source.audio_id, self._span.language
            window = Window(audio_id, planned.index, planned.pieces, samples, planned.n_own, language, speech)
            yield planned, None if speech == () else window

    def _blocks(self) -> Iterator[Samples]:
        for block in self._clip.blocks(self._reader.blocks()):
            self._has_begun = True
            yield block
        self._has_ended = True

    def spoken(self, start_s: int, stop_s: int | None) -> int | None:
        """See `Listener.spoken`."""
        return self._listener.spoken(start_s, stop_s)

    def damage(self, start_s: int, stop_s: int | None) -> Damage:
        """What is wrong with a range of the recording; see `AudioReader.damage`."""
        origin_s = self._origin_s
        found = self._reader.damage(origin_s + start_s, None if stop_s is None else origin_s + stop_s)
        return found if stop_s is not None else found + Damage(broke_off=self._clip.problem)

    @property
    def declared_s(self) -> float | None:
        """Seconds that the file's header promises; None where it does not, and of a part of a file."""
        return None if self._is_clip else self._reader.declared_s


def cut_windows(
    blocks: Iterable[Samples],
    listener: Listener,
    cutters: Sequence[Cutter],
    first: int = 0,
    until: int | None = None,
) -> Iterator[tuple[PlannedWindow, Samples, Intervals | None]]:
    """Cuts windows out of consecutive blocks of samples, until none is left to be found.

    Args:
        blocks: float32[any] each; together they are the recording, from `first` on.
        listener: to this recording, from there on.
        cutters: of this recording.
        first: the sample that the blocks begin with.
        until: the sample from which on no window is wanted; None for all.

    Yields:
        Each window; its samples, an array of its own; and where in it somebody speaks, in samples of the
        window, or None when nobody listens. What it yields does not depend on how the blocks are cut.
    """
    held = HeldSamples(first)
    for heard in _heard(blocks, listener, held):
        for planned in itertools.chain.from_iterable(cutter.windows(heard) for cutter in cutters):
            if until is not None and planned.place >= until:
                continue
            (start, stop), *_ = planned.pieces
            speech = (
                listener.speech(start, stop - start)
                if planned.intervals is None
                else end_to_end(planned.intervals)
            )
            yield planned, held.take(planned.pieces), speech
        cutters = [
            cutter for cutter in cutters if not cutter.done and (until is None or cutter.place < until)
        ]
        if not cutters:
            return
        held.keep(joined(sorted(itertools.chain.from_iterable(cutter.needed for cutter in cutters))))
        listener.forget(min(cutter.listens_from for cutter in cutters))


def _heard(blocks: Iterable[Samples], listener: Listener, held: HeldSamples) -> Iterator[Heard]:
    """Holds blocks and listens to them, one after the other."""
    for block in blocks:
        held.add(block)
        yield Heard(held.n_read, listener.hear(block), listener.settled, ended=False)
    yield Heard(held.n_read, listener.finish(), listener.settled, ended=True)
