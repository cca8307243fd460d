"""Recordings into windows of at most 30 s: packed with speech, or on a grid that shares a few seconds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from model.interface import SAMPLE_RATE, Samples
from transforms.audio import AudioReader
from transforms.clips import Clip
from transforms.cutting import Cutter, FixedWindows, Heard, PlannedWindow, SpeechWindows
from transforms.errors import redact
from transforms.held import HeldSamples
from transforms.listener import Listener, MakeDetector
from transforms.packing import Packing
from transforms.pieces import end_to_end, joined
from transforms.types import AudioSpan, Intervals, Recording, Window

LEAST_SKIPPED = SAMPLE_RATE
"""Samples, 1 s: what is cut out of a shorter pause is not worth telling."""


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut.

    Args:
        chunk_length_s: seconds in a window, at most.
        stride_length_s: seconds that neighbouring windows share, on the grid and where nobody pauses.
        detector: makes what tells where somebody speaks; None to take all for speech, on the grid.
        over_speech: pack windows with speech (`transforms.packing`); else those of the grid are made in which
            somebody speaks.

    Raises:
        ValueError: the windows would not move forward, or leave gaps.
    """

    chunk_length_s: float
    stride_length_s: float
    detector: MakeDetector | None = None
    over_speech: bool = True

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

    def cutters(self, span: AudioSpan) -> list[Cutter]:
        """What finds the windows of a span: the same windows, whenever it is read."""
        extra = [(start, index) for index, start in span.extra]
        if self.over_speech and self.detector is not None:
            packing = Packing(self.window_samples, self.hop_samples)
            return [SpeechWindows(packing, span.windows), self._at(sorted(extra))]
        if span.windows is None:
            return [self._at((index * self.hop_samples, index) for index in itertools.count())]
        return [self._at(sorted([*extra, *((index * self.hop_samples, index) for index in span.windows)]))]

    def _at(self, places: Iterable[tuple[int, int]]) -> Cutter:
        return FixedWindows(places, self.window_samples, self.hop_samples)


def read_windows(reader: AudioReader, span: AudioSpan, plan: WindowPlan) -> Iterator[Window | Recording]:
    """Decodes a recording and cuts it, holding two windows and a block of it at most.

    Args:
        reader: of the recording.
        span: its source, and which of its windows are wanted.
        plan: how to cut it.

    Yields:
        The windows wanted, in order, but those that nobody speaks in; and last the `Recording`. Its source
        has no payload and its URI no credentials, for it goes into the rows and no more to be fetched. When
        decoding breaks off, the windows that could be made come first, and `truncated` and `problem` tell.

    Raises:
        AudioError: nothing could be decoded.
    """
    source = span.source
    listener = Listener(plan.detector)
    n_windows = n_skipped = 0
    skipped = _Gaps()
    clip = Clip(source)
    blocks = clip.blocks(reader.blocks())
    for planned, samples, speech in cut_windows(blocks, listener, plan.cutters(span)):
        n_windows += 1
        if speech == ():
            n_skipped += 1
            continue
        for piece in planned.pieces:
            skipped.cover(*piece)
        yield Window(
            source.audio_id, planned.index, planned.pieces, samples, planned.n_own, span.language, speech
        )
    yield Recording(
        source=replace(source, uri=redact(source.uri), payload=None),
        duration_s=clip.duration_s,
        n_windows=n_windows,
        n_skipped=n_skipped,
        speech_s=listener.speech_s(),
        skipped=skipped.until(clip.duration_s),
        truncated=reader.truncated or clip.problem is not None,
        problem=clip.problem or reader.problem,
        declared_s=reader.declared_s if source.start_s is None and source.end_s is None else None,
    )


def cut_windows(
    blocks: Iterable[Samples], listener: Listener, cutters: Sequence[Cutter]
) -> Iterator[tuple[PlannedWindow, Samples, Intervals | None]]:
    """Cuts windows out of consecutive blocks of samples, until none is left to be found.

    Args:
        blocks: float32[any] each; together they are the recording.
        listener: to this recording, from its start.
        cutters: of this recording.

    Yields:
        Each window; its samples, an array of its own; and where in it somebody speaks, in samples of the
        window, or None when nobody listens. What it yields does not depend on how the blocks are cut.
    """
    held = HeldSamples()
    for heard in _heard(blocks, listener, held):
        for planned in itertools.chain.from_iterable(cutter.windows(heard) for cutter in cutters):
            (start, stop), *_ = planned.pieces
            speech = (
                listener.speech(start, stop - start)
                if planned.intervals is None
                else end_to_end(planned.intervals)
            )
            yield planned, held.take(planned.pieces), speech
        cutters = [cutter for cutter in cutters if not cutter.done]
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


class _Gaps:
    """The stretches that no window covers, of windows that come by their start; in samples, then seconds."""

    def __init__(self) -> None:
        self._covered = 0
        self._gaps: list[tuple[float, float]] = []

    def cover(self, start: int, stop: int) -> None:
        if start - self._covered >= LEAST_SKIPPED:
            self._gaps.append((self._covered / SAMPLE_RATE, start / SAMPLE_RATE))
        self._covered = max(self._covered, stop)

    def until(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """All of them, in a recording of that length."""
        covered_s = self._covered / SAMPLE_RATE
        is_gap = duration_s - covered_s >= LEAST_SKIPPED / SAMPLE_RATE
        return (*self._gaps, *([(covered_s, duration_s)] if is_gap else []))
