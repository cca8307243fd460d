"""Windows and parts of a recording of one minute in three windows, for the tests of merging."""

from __future__ import annotations

from model.interface import SAMPLE_RATE
from transforms.core.types import AudioSource, RecordingPart, Segment, WindowTranscript

SOURCE = AudioSource("id", "/a.wav", reference="the reference")
PART = RecordingPart(SOURCE, n_windows=3, n_samples=60 * SAMPLE_RATE)


def window(index: int, language: str, text: str = "") -> WindowTranscript:
    """A window with the text `<language><index>`, or `<text><index>`."""
    start_s = 25.0 * index
    end_s = min(start_s + 30.0, 60.0)
    segment = Segment(start_s + 6, start_s + 8, f" {text or language}{index}", -0.1, 0.0, 1.0, 0.0)
    return WindowTranscript("id", index, start_s, end_s, (segment,), language, {language: 0.9})


def english_window(index: int, start_s: float, *texts: tuple[float, str]) -> WindowTranscript:
    """A window of 30 s with a segment for each (start in seconds, text), half a second a word."""
    segments = tuple(
        Segment(at_s, at_s + 0.5 * len(text.split()), f" {text}", -0.1, 0.0, 1.0, 0.0) for at_s, text in texts
    )
    return WindowTranscript("id", index, start_s, start_s + 30, segments, "en", {"en": 0.9})


_EARLY, _LATE = (20.0, "we went to the river early"), (31.0, "and swam until noon")
WEAK_LEFT = english_window(0, 0, _EARLY, (26.0, "where whatever was on hand"))
WEAK_RIGHT = english_window(1, 25, (25.2, "there water was all round"), _LATE)
"""Two windows whose texts disagree in the seconds that they share."""


def weak_middle(index: int, start_s: float) -> WindowTranscript:
    """A window about the boundary between them, which agrees with both."""
    return english_window(index, start_s, _EARLY, (26.0, "where water was all around"), _LATE)


WEAK_MERGED = "we went to the river early where water was all around and swam until noon"
