"""The merge: what two windows heard is written once, and what one heard is never lost.

Neighbouring windows share a few seconds. Which of their words are the same is decided by text and time
together, and then one cut goes through both: everything before it comes from the left window, everything
after it from the right one. So every word comes from one window, in the order in which it was heard.

1. Every word has a time, from the model or spread over its segment, and a slack by which that time may be
   off (`transforms.merging.timed_words`).
2. Candidates are the words in the shared seconds, give or take their slack. All others were heard by one
   window only, and no step can drop them.
3. Candidates are aligned; words are the same only if equal after normalising and close in time.
4. The cut lies in a run of words that both agree on, else in a pause, else in the middle; if one window
   says nothing there, the other is kept (`transforms.merging.boundary`, with the cases that it is made for).
5. Its kind and the ratio of agreement are kept, a quality score for each boundary.

Windows are joined from left to right, and the left side is all that was kept so far. Where no three
windows share seconds that is the window before, so that no error travels; where three do, it makes cuts
that would cross impossible, and an empty window between two that overlap does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from transforms.core.types import Boundary, Segment, WindowTranscript, Word
from transforms.merging.boundary import find_cut
from transforms.merging.timed_words import TimedWord, timed_words


@dataclass(frozen=True)
class Merged:
    """A recording's text out of its windows.

    Attributes:
        segments: in seconds of the recording, `0 <= start_s <= end_s <= next.start_s <= duration_s`.
        boundaries: one for each pair of neighbours, in order.
    """

    segments: tuple[Segment, ...]
    boundaries: tuple[Boundary, ...]

    @property
    def text(self) -> str:
        """The segments' texts, joined and stripped."""
        return "".join(segment.text for segment in self.segments).strip()


def merge_windows(windows: Sequence[WindowTranscript], duration_s: float) -> Merged:
    """Merges the windows of one recording.

    Args:
        windows: in any order. Some may be missing; neighbours may share any seconds, or none.
        duration_s: of the recording, which no time exceeds.

    Raises:
        ValueError: windows that do not follow each other: two of one index, or one that ends no later than
            one that starts before it.
    """
    ordered = _in_order(windows)
    kept: list[TimedWord] = []
    boundaries: list[Boundary] = []
    for number, window in enumerate(ordered):
        words = timed_words(window)
        if number:
            cut = find_cut(kept, words, window.start_s, ordered[number - 1].end_s)
            boundaries.append(replace(cut.boundary, time_s=min(cut.boundary.time_s, duration_s)))
            del kept[cut.n_left :], words[: cut.n_right]
        kept += words
    return Merged(_without_overlaps(_rebuild(kept, ordered), duration_s), tuple(boundaries))


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


def _rebuild(words: Iterable[TimedWord], windows: Sequence[WindowTranscript]) -> list[Segment]:
    """Makes segments of the words that were kept.

    A segment of which all words were kept is given back as it was; one that lost some has the text and the
    times of the others; one that lost all is gone.
    """
    segments = {(window.index, n): segment for window in windows for n, segment in enumerate(window.segments)}
    rebuilt: list[Segment] = []
    for source, group in groupby(words, key=lambda word: word.source):
        kept = list(group)
        segment, text = segments[source], "".join(word.text for word in kept)
        if text != segment.text:
            segment = _shortened(segment, text, kept)
        rebuilt.append(segment)
    return rebuilt


def _shortened(segment: Segment, text: str, kept: Sequence[TimedWord]) -> Segment:
    """A segment of which these words were kept, with as much of its own words as lies in their text."""
    start, stop = kept[0].offset, kept[-1].offset + len(kept[-1].text)
    words, offset = list[Word](), 0
    for word in segment.words:
        part = word.text[max(start - offset, 0) : max(stop - offset, 0)]
        if part.strip():
            words.append(replace(word, text=part))
        offset += len(word.text)
    return replace(segment, text=text, start_s=kept[0].start_s, end_s=kept[-1].end_s, words=tuple(words))


def _without_overlaps(segments: Iterable[Segment], duration_s: float) -> tuple[Segment, ...]:
    """Moves times into the recording; where segments overlap, both end up at the middle of the overlap."""
    moved: list[Segment] = []
    for segment in segments:
        start_s, end_s = (min(max(time_s, 0.0), duration_s) for time_s in (segment.start_s, segment.end_s))
        if moved and start_s < moved[-1].end_s:
            start_s = max(moved[-1].start_s, (start_s + moved[-1].end_s) / 2)
            moved[-1] = replace(moved[-1], end_s=start_s)
        moved.append(replace(segment, start_s=start_s, end_s=max(start_s, end_s)))
    return tuple(_with_words_inside(segment) for segment in moved)


def _with_words_inside(segment: Segment) -> Segment:
    """Moves the times of a segment's words into the segment, in order."""
    words, last_s = list[Word](), segment.start_s
    for word in segment.words:
        start_s = min(max(word.start_s, last_s), segment.end_s)
        last_s = min(max(word.end_s, start_s), segment.end_s)
        words.append(replace(word, start_s=start_s, end_s=last_s))
    return replace(segment, words=tuple(words))
