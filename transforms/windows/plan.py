"""How recordings are cut into windows of at most 30 s: packed with speech, or at a fixed stride."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from model.interface import SAMPLE_RATE
from transforms.core.clips import END, Clips
from transforms.core.sections import WARMUP_S, Sections
from transforms.core.types import AudioSource, AudioSpan
from transforms.core.window_index import WindowId
from transforms.windows.clipped_detector import MakeDetector
from transforms.windows.cutters import FixedStrideCutter, Place, SpeechCutter, WindowCutter, fixed_stride
from transforms.windows.packing import Packing


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
        clips = Clips.of(span.source.clip_timestamps)
        extra = [Place(start, index, start + self.window_samples) for index, start in span.extra]
        if self.over_speech and self.detector is not None:
            shared = self.window_samples - self.hop_samples
            packed = SpeechCutter(self._make_packing, self.sections, first, shared, span.windows, clips)
            return [packed, FixedStrideCutter(sorted(extra), clips)]
        places: Iterable[Place] = self._wanted(span, clips)
        if span.windows is None:
            start = self.sections.start_s(first) * SAMPLE_RATE
            places = fixed_stride(clips, self.window_samples, self.hop_samples, start)
        return [FixedStrideCutter(sorted([*extra, *places]) if extra else places, clips)]

    def first_section(self, span: AudioSpan) -> int:
        """Returns the section to start with, to find the windows that a second pass wants."""
        if span.source.is_part:
            return 0  # it is read from its start, as its samples are counted from there
        starts = [start for _, start in span.extra]
        if self.over_speech and self.detector is not None:
            sections = [WindowId.from_index(index).section for index in span.windows or ()]
        else:
            starts += [place.start for place in self._wanted(span, Clips.of(span.source.clip_timestamps))]
            sections = []
        return min(sections + [self.sections.at(start / SAMPLE_RATE) for start in starts], default=0)

    def section_at(self, source: AudioSource, start_s: int) -> int:
        """Returns the section to start with, to find all windows of a recording from a second on.

        It is that of the first clip from there on, as sections before it have no window; 0 for a part of a
        file, as in `first_section`.
        """
        if source.is_part:
            return 0
        clips = Clips.of(source.clip_timestamps)
        # The first window of a section may start in the warm-up before it, and so in a clip that ends there.
        first = clips.first_from(max(start_s - WARMUP_S, 0) * SAMPLE_RATE)
        return self.sections.at(start_s if first == END else max(start_s, first // SAMPLE_RATE))

    def _wanted(self, span: AudioSpan, clips: Clips) -> Iterator[Place]:
        """Yields the places of the windows that a second pass wants, at the fixed stride."""
        wanted = span.windows or frozenset()
        n_windows = max(wanted, default=-1) + 1
        places = fixed_stride(clips, self.window_samples, self.hop_samples)
        return (place for place in itertools.islice(places, n_windows) if place.window_index in wanted)

    def _make_packing(self) -> Packing:
        return Packing(self.window_samples, self.hop_samples)
