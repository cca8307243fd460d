"""The seconds of a recording that have no text, or have lost some of it, as the windows list them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from transforms.core.intervals import uncovered
from transforms.core.types import FAILED, Untranscribed, WindowTranscript
from transforms.merging.merge import Merged

MIN_REST_S = 0.5
"""Seconds: times of text are off by as much, so that a shorter rest beside it is not reported."""
MAX_COVERED = 0.5
"""Share of the seconds of a deleted text that the text of another window covers, at most."""
MAX_NAMED = 3
"""Stretches that a sentence names."""

_Stretch = tuple[float, float]


def merged_untranscribed(
    windows: Sequence[WindowTranscript],
    failed: Iterable[WindowTranscript],
    merged: Merged,
    duration_s: float,
) -> tuple[Untranscribed, ...]:
    """Returns what the windows list, in order of time and within the recording.

    Seconds that another window has text for are left out, and so is a text that was deleted there.

    Args:
        windows: the windows that were merged.
        failed: windows that could not be decoded. Of what they share with one of `windows`, only speech
            without text is lost.
        merged: the merge of `windows`.
        duration_s: duration of the recording, which no time exceeds.
    """
    texts = [(one.start_s, one.end_s) for one in merged.segments]
    found: set[Untranscribed] = set()
    for window in windows:
        if window.untranscribed:
            near = _near(texts, window)
            others = [texts[number] for number in near if merged.windows[number] != window.index]
            found.update(_outside(window.untranscribed, others))
    decoded = {window.index for window in windows}
    ordered = sorted(windows, key=lambda one: one.start_s)
    extents = [(one.start_s, one.end_s) for one in ordered]
    listed_s = 0.0  # seconds that two failed windows share are listed once
    for window in sorted(failed, key=lambda one: (one.start_s, one.index)):
        if window.index not in decoded:
            covered = [texts[number] for number in _near(texts, window)]
            for number in _near(extents, window):
                covered += _without_speech(ordered[number])
            covered.append((min(window.start_s, listed_s), listed_s))
            found.update(_outside(window.untranscribed, sorted(covered)))
            listed_s = max(listed_s, window.end_s)
    return tuple(sorted(_within(found, duration_s), key=_order))


def failed_seconds(untranscribed: Iterable[Untranscribed], offset_s: float) -> str | None:
    """Returns a sentence about the seconds at which the model failed; None if there are none.

    Args:
        untranscribed: in seconds of the part that was read.
        offset_s: start of the part in the file.
    """
    failed = [one for one in untranscribed if one.reason == FAILED]
    if not failed:
        return None
    total_s = sum(one.end_s - one.start_s for one in failed)
    named = [f"{offset_s + one.start_s:.2f} to {offset_s + one.end_s:.2f}" for one in failed[:MAX_NAMED]]
    n_more = len(failed) - MAX_NAMED
    more = f", and {n_more} more stretch{'es' * (n_more > 1)}" if n_more > 0 else ""
    return f"the model failed on {total_s:.2f} s, which have no text: seconds {', '.join(named)}{more}"


def _near(stretches: Sequence[_Stretch], window: WindowTranscript) -> range:
    """Returns the numbers of the stretches that a window may touch; both their bounds are in order."""
    first = bisect_left(stretches, window.start_s, key=lambda stretch: stretch[1])
    return range(first, bisect_right(stretches, window.end_s, key=lambda stretch: stretch[0]))


def _without_speech(window: WindowTranscript) -> Iterator[_Stretch]:
    """Yields the stretches of a window without speech; all of it without VAD."""
    return uncovered(window.start_s, window.end_s, window.speech or ())


def _outside(entries: Iterable[Untranscribed], covered: Sequence[_Stretch]) -> Iterator[Untranscribed]:
    """Yields the entries, or what of them is not covered; a text is kept or left out as a whole.

    Args:
        entries: entries of one window.
        covered: stretches in order, which may overlap.
    """
    for entry in entries:
        rests = list(uncovered(entry.start_s, entry.end_s, covered))
        rest_s, length_s = sum(end_s - start_s for start_s, end_s in rests), entry.end_s - entry.start_s
        if rest_s == length_s or (entry.text and rest_s > MAX_COVERED * length_s):
            yield entry
        elif not entry.text:
            for start_s, end_s in rests:
                if end_s - start_s >= MIN_REST_S:
                    yield replace(entry, start_s=start_s, end_s=end_s)


def _within(entries: Iterable[Untranscribed], duration_s: float) -> Iterator[Untranscribed]:
    for entry in entries:
        start_s, end_s = (min(max(time_s, 0.0), duration_s) for time_s in (entry.start_s, entry.end_s))
        if start_s < end_s or entry.text:
            yield replace(entry, start_s=start_s, end_s=end_s)


def _order(entry: Untranscribed) -> tuple[float, float, str, str]:
    return entry.start_s, entry.end_s, entry.reason, entry.text
