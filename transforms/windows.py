"""Recordings into windows of at most 30 s that share a few seconds with their neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio import AudioReader
from transforms.errors import redact
from transforms.fetch import open_audio
from transforms.listener import Listener, MakeDetector
from transforms.types import AudioSpan, Recording, Window

PlannedWindow = tuple[int, int]
"""First sample and index of a window."""


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut.

    Args:
        chunk_length_s: seconds in a window.
        stride_length_s: seconds that neighbouring windows share.
        detector: makes what tells where somebody speaks; None to take every window for speech.

    Raises:
        ValueError: the windows would not move forward, or leave gaps.
    """

    chunk_length_s: float
    stride_length_s: float
    detector: MakeDetector | None = None

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.window_samples:
            raise ValueError(
                f"windows of {self.window_samples} samples every {self.hop_samples}: the hop must be at "
                "least 1 and at most the window; choose a stride_length_s of at least 0 and less than "
                "chunk_length_s"
            )

    @property
    def window_samples(self) -> int:
        """Samples in a window; the last may have fewer."""
        return round(self.chunk_length_s * SAMPLE_RATE)

    @property
    def hop_samples(self) -> int:
        """Samples from one window's start to the next one's."""
        return self.window_samples - round(self.stride_length_s * SAMPLE_RATE)

    def windows(self, span: AudioSpan) -> Iterator[PlannedWindow]:
        """The windows of a span, by their start: without an end when all are wanted."""
        if span.windows is None:
            return ((index * self.hop_samples, index) for index in itertools.count())
        planned = [(index * self.hop_samples, index) for index in span.windows]
        return iter(sorted(planned + [(start, index) for index, start in span.extra]))

    def n_own(self, window: PlannedWindow, n_samples: int, ends: bool) -> int:
        """How many of a window's samples no later window hears: of one off the plan, none."""
        start, index = window
        if start != index * self.hop_samples:
            return 0
        return n_samples if ends else self.hop_samples


def read_windows(span: AudioSpan, plan: WindowPlan) -> Iterator[Window | Recording]:
    """Fetches and decodes a recording and cuts it, holding one window and one block of it at a time.

    Args:
        span: the recording, and which of its windows are wanted.
        plan: how to cut it.

    Yields:
        The windows wanted, in order, but those that nobody speaks in; and last the `Recording`. Its source
        has no payload and its URI no credentials, for it goes into the rows and no more to be fetched. When
        decoding breaks off, the windows that could be made come first, and `truncated` and `problem` tell.

    Raises:
        AudioError: nothing could be fetched or decoded.
    """
    source = span.source
    listener = Listener(plan.detector)
    windows, starts = itertools.tee(plan.windows(span))
    n_windows = n_skipped = 0
    skipped = _Gaps()
    with open_audio(source) as file:
        reader = AudioReader(file)
        cuts = cut_windows(
            listener.follow(reader.blocks()), plan.window_samples, (start for start, _ in starts)
        )
        for planned, (start, samples, ends) in zip(windows, cuts, strict=False):
            n_windows += 1
            speech = listener.speech(start, samples.size)
            if speech == ():
                n_skipped += 1
            else:
                skipped.cover(start, start + samples.size)
                n_own = plan.n_own(planned, samples.size, ends)
                yield Window(source.audio_id, planned[1], start, samples, n_own, span.language, speech)
            if ends:
                break
    yield Recording(
        source=replace(source, uri=redact(source.uri), payload=None),
        duration_s=reader.decoded_s,
        n_windows=n_windows,
        n_skipped=n_skipped,
        speech_s=listener.speech_s(),
        skipped=skipped.until(reader.decoded_s),
        truncated=reader.truncated,
        problem=reader.problem,
    )


def cut_windows(
    blocks: Iterable[Samples], window_samples: int, starts: Iterable[int]
) -> Iterator[tuple[int, Samples, bool]]:
    """Cuts windows out of consecutive blocks of samples.

    Args:
        blocks: float32[any] each; together they are the recording.
        window_samples: samples in a window; one that the recording's end cuts has fewer.
        starts: each window's first sample, increasing.

    Yields:
        Each window's first sample; the samples, an array of its own, float32[1 to window_samples]; and
        whether the recording ends with it. A window that would start after the end is not there.
    """
    blocks = iter(blocks)
    origin, more = 0, True
    ahead: Samples = np.empty(0, np.float32)
    for start in starts:
        while True:
            n_passed = min(start - origin, len(ahead))
            origin, ahead = origin + n_passed, ahead[n_passed:]
            if not more or len(ahead) > window_samples:  # with exactly a window left, it may be the last
                break
            block = next(blocks, None)
            more = block is not None
            if block is not None:
                ahead = np.concatenate([ahead, block])
        if not len(ahead):
            return
        yield start, ahead[:window_samples].copy(), not more and len(ahead) <= window_samples


class _Gaps:
    """The stretches that no window covers, of windows that come by their start; in samples, then seconds."""

    def __init__(self) -> None:
        self._covered = 0
        self._gaps: list[tuple[float, float]] = []

    def cover(self, start: int, stop: int) -> None:
        if start > self._covered:
            self._gaps.append((self._covered / SAMPLE_RATE, start / SAMPLE_RATE))
        self._covered = max(self._covered, stop)

    def until(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """All of them, in a recording of that length."""
        covered_s = self._covered / SAMPLE_RATE
        return (*self._gaps, *([(covered_s, duration_s)] if covered_s < duration_s else []))
