"""How recordings are cut into windows of at most 30 s: packed with speech, or at a fixed stride."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from model.interface import SAMPLE_RATE
from transforms.core.sections import Sections
from transforms.core.types import AudioSpan
from transforms.core.window_index import WindowId
from transforms.windows.cutters import FixedStrideCutter, SpeechCutter, WindowCutter
from transforms.windows.packing import Packing
from transforms.windows.speech_tracker import MakeDetector


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut into windows.

    Args:
        chunk_length_s: maximum seconds in a window.
        stride_length_s: seconds that neighbouring windows share, at the fixed stride and where speech has no
            pause.
        detector: returns a voice activity detector; None to treat all audio as speech, at the fixed stride.
        over_speech: pack windows with speech (`transforms.windows.packing`); otherwise, the windows are those
            at the fixed stride that contain speech.
        sections: the sections of a recording; cutting restarts at each.

    Raises:
        ValueError: the windows would not move forward, or leave gaps.
    """

    chunk_length_s: float
    stride_length_s: float
    detector: MakeDetector | None = None
    over_speech: bool = True
    sections: Sections = field(default_factory=Sections)

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.window_samples:
            raise ValueError(
                f"windows of {self.window_samples} samples every {self.hop_samples}: the hop must be at "
                "least 1 and at most the window; choose a stride_length_s of at least 0 and less than "
                "chunk_length_s"
            )

    @property
    def window_samples(self) -> int:
        """Maximum samples in a window."""
        return round(self.chunk_length_s * SAMPLE_RATE)

    @property
    def hop_samples(self) -> int:
        """Samples from one window to the next, at the fixed stride and in speech without pauses."""
        return self.window_samples - round(self.stride_length_s * SAMPLE_RATE)

    def cutters(self, span: AudioSpan, first: int = 0) -> list[WindowCutter]:
        """Returns cutters that together find the windows of a span: the same windows in every reading.

        Args:
            span: the windows that are wanted.
            first: the section to start with.
        """
        extra = [(start, index) for index, start in span.extra]
        if self.over_speech and self.detector is not None:
            shared = self.window_samples - self.hop_samples
            packed = SpeechCutter(self._make_packing, self.sections, first, shared, span.windows)
            return [packed, self._at(sorted(extra))]
        if span.windows is None:
            start = -(-self.sections.start_s(first) * SAMPLE_RATE // self.hop_samples)
            return [self._at((index * self.hop_samples, index) for index in itertools.count(start))]
        return [self._at(sorted([*extra, *((index * self.hop_samples, index) for index in span.windows)]))]

    def first_section(self, span: AudioSpan) -> int:
        """Returns the section to start with, to find the windows that a second pass wants."""
        starts = [start for _, start in span.extra]
        if self.over_speech and self.detector is not None:
            sections = [WindowId.from_index(index).section for index in span.windows or ()]
        else:
            starts += [index * self.hop_samples for index in span.windows or ()]
            sections = []
        return min(sections + [self.sections.at(start / SAMPLE_RATE) for start in starts], default=0)

    def _make_packing(self) -> Packing:
        return Packing(self.window_samples, self.hop_samples)

    def _at(self, starts: Iterable[tuple[int, int]]) -> WindowCutter:
        return FixedStrideCutter(starts, self.window_samples, self.hop_samples)
