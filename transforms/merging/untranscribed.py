"""The seconds of a recording that have no text, or have lost some of it, as the windows list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

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
        failed: windows that could not be decoded. What they share with one of `windows` is not lost.
        merged: the merge of `windows`.
        duration_s: duration of the recording, which no time exceeds.
    """
    texts = [
        (index, (one.start_s, one.end_s)) for index, one in zip(merged.windows, merged.segments, strict=True)
    ]
    found: set[Untranscribed] = set()
    for window in windows:
        if window.untranscribed:
            others = [stretch for index, stretch in texts if index != window.index]
            found.update(_outside(window.untranscribed, others))
    decoded = {window.index for window in windows}
    extents = sorted((window.start_s, window.end_s) for window in windows)
    for window in failed:
        if window.index not in decoded:
            found.update(_outside(window.untranscribed, extents))
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
    more = f", and {len(failed) - MAX_NAMED} more stretches" if len(failed) > MAX_NAMED else ""
    return f"the model failed on {total_s:.2f} s, which have no text: seconds {', '.join(named)}{more}"


def _outside(entries: Iterable[Untranscribed], covered: Sequence[_Stretch]) -> Iterator[Untranscribed]:
    """Yields the entries, or what of them is not covered; a text is kept or left out as a whole.

    Args:
        entries: entries of one window.
        covered: stretches in order, which may overlap.
    """
    for entry in entries:
        rests = list(_rests(entry, covered))
        rest_s, length_s = sum(end_s - start_s for start_s, end_s in rests), entry.end_s - entry.start_s
        if rest_s == length_s or (entry.text and rest_s > MAX_COVERED * length_s):
            yield entry
        elif not entry.text:
            for start_s, end_s in rests:
                if end_s - start_s >= MIN_REST_S:
                    yield replace(entry, start_s=start_s, end_s=end_s)


def _rests(entry: Untranscribed, covered: Iterable[_Stretch]) -> Iterator[_Stretch]:
    """Yields the parts of the entry's seconds that are not covered."""
    at_s = entry.start_s
    for start_s, end_s in covered:
        if start_s >= entry.end_s:
            break
        if start_s > at_s:
            yield at_s, start_s
        at_s = max(at_s, end_s)
    if at_s < entry.end_s:
        yield at_s, entry.end_s


def _within(entries: Iterable[Untranscribed], duration_s: float) -> Iterator[Untranscribed]:
    for entry in entries:
        start_s, end_s = (min(max(time_s, 0.0), duration_s) for time_s in (entry.start_s, entry.end_s))
        if start_s < end_s or entry.text:
            yield replace(entry, start_s=start_s, end_s=end_s)


def _order(entry: Untranscribed) -> tuple[float, float, str, str]:
    return entry.start_s, entry.end_s, entry.reason, entry.text
