"""Merges the windows of a recording: words that two windows recognised appear once, and none is lost.

Neighbouring windows share a few seconds. Which of their words are the same is decided by text and time
together, and then one cut goes through both: everything before it comes from the left window, everything
after it from the right one. So every word comes from one window, in the order of the audio.

1. Every word has a time, from the model or spread over its segment, and a slack by which that time may be
   off (`transforms.merging.timed_words`).
2. Candidates are the words in the shared seconds, widened by their slack. All others were recognised in one
   window only, and no step can drop them.
3. Candidates are aligned; words are the same only if equal after normalising and close in time.
4. The cut lies in a run of words that both agree on, else in a pause, else in the middle; if one window has
   no words there, the other is kept (`transforms.merging.boundary` lists the cases it is designed for).
5. Its kind and the ratio of agreement are kept, as a quality score of each boundary.

Windows are joined from left to right, and the left side is all that was kept so far. Where no three windows
share seconds, that is the previous window, so that an error affects one boundary only. Where three do, cuts
cannot cross, and an empty window between two that overlap does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from transforms.core.types import Boundary, Segment, WindowTranscript, Word
from transforms.merging.boundary import find_cut
from transforms.merging.timed_words import TimedWord, timed_words


@dataclass(frozen=True)
class Merged:
    """The merged segments of a recording.

    Attributes:
        segments: segments in seconds of the recording, `0 <= start_s <= end_s <= next.start_s <= duration_s`.
        boundaries: one for each pair of neighbours, in order.
        windows: the index of the window that each segment is from.
    """

    segments: tuple[Segment, ...]
    boundaries: tuple[Boundary, ...]
    windows: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The texts of the segments, joined and stripped."""
        return "".join(segment.text for segment in self.segments).strip()


def merge_windows(windows: Sequence[WindowTranscript], duration_s: float) -> Merged:
    """Merges the windows of one recording.

    Args:
        windows: the windows, in any order. Some may be missing; neighbours may share any seconds, or none.
        duration_s: duration of the recording, which no time exceeds.

    Raises:
        ValueError: windows that do not follow each other: two of one index, or one that ends no later than
            one that starts before it.
    """
    merger = WindowMerger()
    for window in _in_order(windows):
        merger.add(window)
    return merger.merged(duration_s)


class WindowMerger:
    """Merges the windows of one recording one by one, in the order of their starts."""

    def __init__(self) -> None:
        self._last: WindowTranscript | None = None
        self._segments: dict[tuple[int, int], Segment] = {}  # by window and number, as words name them
        self._kept: list[TimedWord] = []
        self._boundaries: list[Boundary] = []
        self._n_popped = 0  # words whose segments were popped, or are pending
        self._pending: list[Segment] = []  # at most one: the next segment may still move its end

    def add(self, window: WindowTranscript) -> None:
        """Joins a window to the previous ones."""
        words = timed_words(window)
        if self._last is not None:
            cut = find_cut(self._kept, words, window.start_s, self._last.end_s)
            self._boundaries.append(cut.boundary)
            del self._kept[cut.n_left :], words[: cut.n_right]
        self._last = window
        self._kept += words
        self._segments.update({(window.index, n): segment for n, segment in enumerate(window.segments)})

    def merged(self, duration_s: float) -> Merged:
        """Returns the merge of the windows so far, in a recording of `duration_s` seconds."""
        boundaries = (
            replace(boundary, time_s=min(boundary.time_s, duration_s)) for boundary in self._boundaries
        )
        segments = _without_overlaps(_rebuild(self._kept, self._segments), duration_s)
        windows = tuple(index for (index, _), _ in groupby(self._kept, key=lambda word: word.source))
        return Merged(tuple(map(_with_words_inside, segments)), tuple(boundaries), windows)

    def pop_final(self) -> list[Segment]:
        """Returns the segments that became final since the last call: no later window changes them.

        Later windows start after the last one, and a cut never drops words that are more than their slack
        before the start of its right window (`find_cut`).
        """
        if self._last is None:
            return []
        n = len(self._kept)
        while n and self._kept[n - 1].mid_s >= self._last.start_s - self._kept[n - 1].slack_s:
            n -= 1
        while 0 < n < len(self._kept) and self._kept[n].source == self._kept[n - 1].source:
            n -= 1  # only whole segments
        if n <= self._n_popped:
            return []
        new = _rebuild(self._kept[self._n_popped : n], self._segments)
        *final, pending = _without_overlaps([*self._pending, *new], math.inf)
        self._n_popped, self._pending = n, [pending]
        return list(map(_with_words_inside, final))


def _in_order(windows: Sequence[WindowTranscript]) -> list[WindowTranscript]:
    ordered = sorted(windows, key=lambda window: (window.start_s, window.index))
    for left, right in pairwise(ordered):
        if left.index == right.index or left.start_s >= right.start_s or left.end_s >= right.end_s:
            raise ValueError(
                f"windows {left.index} ({left.start_s} to {left.end_s} s) and {right.index} ({right.start_s} "
                f"to {right.end_s} s) of {left.audio_id!r} do not follow each other; merge the windows of "
                "one plan, each once"
            )
    return ordered


def _rebuild(words: Iterable[TimedWord], segments: Mapping[tuple[int, int], Segment]) -> list[Segment]:
    """Returns the segments of the words that were kept.

    A segment is unchanged if all its words were kept. If some were, it has their text and times; if none was,
    it is dropped.
    """
    rebuilt: list[Segment] = []
    for source, group in groupby(words, key=lambda word: word.source):
        kept = list(group)
        segment, text = segments[source], "".join(word.text for word in kept)
        if text != segment.text:
            segment = _shortened(segment, text, kept)
        rebuilt.append(segment)
    return rebuilt


def _shortened(segment: Segment, text: str, kept: Sequence[TimedWord]) -> Segment:
    """Returns a segment reduced to the words that were kept, and its timed words to their text."""
    start, stop = kept[0].offset, kept[-1].offset + len(kept[-1].text)
    words, offset = list[Word](), 0
    for word in segment.words:
        part = word.text[max(start - offset, 0) : max(stop - offset, 0)]
        if part.strip():
            words.append(replace(word, text=part))
        offset += len(word.text)
    return replace(segment, text=text, start_s=kept[0].start_s, end_s=kept[-1].end_s, words=tuple(words))


def _without_overlaps(segments: Iterable[Segment], duration_s: float) -> list[Segment]:
    """Clamps times to the recording; segments that overlap meet in the middle of the overlap."""
    clamped: list[Segment] = []
    for segment in segments:
        start_s, end_s = (min(max(time_s, 0.0), duration_s) for time_s in (segment.start_s, segment.end_s))
        if clamped and start_s < clamped[-1].end_s:
            start_s = max(clamped[-1].start_s, (start_s + clamped[-1].end_s) / 2)
            clamped[-1] = replace(clamped[-1], end_s=start_s)
        clamped.append(replace(segment, start_s=start_s, end_s=max(start_s, end_s)))
    return clamped


def _with_words_inside(segment: Segment) -> Segment:
    """Clamps the times of a segment's words to the segment, in order."""
    words, last_s = list[Word](), segment.start_s
    for word in segment.words:
        start_s = min(max(word.start_s, last_s), segment.end_s)
        last_s = min(max(word.end_s, start_s), segment.end_s)
        words.append(replace(word, start_s=start_s, end_s=last_s))
    return replace(segment, words=tuple(words))
