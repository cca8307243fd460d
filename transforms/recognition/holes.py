"""Holes of a window: speech without text, and segments with far too little text for their speech.

Whisper skips speech in the middle of a window, mostly another language, or what it has written before: a
sentence that is spoken ten times is written once or twice, in segments that span all copies. Likewise, where
a text repeats itself at every temperature, decoding was stopped, and the last segment spans more than
its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.interface import SAMPLE_RATE, Segment
from transforms.core.intervals import uncovered
from transforms.core.types import Intervals, Window
from transforms.recognition.decode_passes import DecodePass, DroppedRange
from transforms.recognition.pieces import MAX_PIECES, pieces_of
from transforms.recognition.tails import NO_SPEECH

MIN_HOLE = SAMPLE_RATE
"""Samples of speech, 1 s: a short word with the 0.4 s that the VAD keeps on each side of it. In 134 windows
of read speech and commands no hole of this length was in the middle of a window."""

MIN_SPARSE = 3 * SAMPLE_RATE
"""Samples of speech, 3 s, in a segment that may have too little text; less may be a word and its pauses."""

MIN_TOKENS_A_SECOND = 1.2
"""Tokens for a second of speech in a segment. The least in 197 segments of read speech and commands is 2.4,
and digits that are read one by one have 1.0 to 2.2. Of ten copies of a sentence in 24 s, one has 0.2 and two
have 0.4."""

MAX_OF_WINDOW = 0.95
"""Share of the window that a piece may be; to decode more would give the same text."""

NO_TEXT = "no_text"
"""Reason of `Untranscribed`: there is speech, and the model wrote nothing that passed the thresholds."""


@dataclass(frozen=True)
class Hole:
    """A range of a window, in samples, to be decoded by itself.

    Attributes:
        n_tokens: tokens of the segment that spans it; 0 if there is none.
    """

    start: int
    stop: int
    n_tokens: int = 0


def find_holes(
    window: Window, passes: Sequence[DecodePass], dropped: Sequence[DroppedRange] = ()
) -> tuple[Hole, ...]:
    """Returns the holes of a window, in order of time.

    Args:
        window: the window.
        passes: its accepted passes, with timestamps.
        dropped: ranges that were decoded by themselves before, and are no holes any more.
    """
    holes = [Hole(start, stop) for start, stop in speech_without_text(window, passes, dropped)]
    for one in passes:
        last = one.result.segments[-1:] if one.result.repeated else ()  # where decoding was stopped
        holes += (
            Hole(start, stop, len(segment.tokens))
            for start, stop, segment in one.placed()
            if segment.tokens and (segment in last or _is_sparse(window, start, stop, segment))
        )
    return tuple(sorted(holes, key=lambda hole: hole.start))


def hole_pieces(window: Window, hole: Hole) -> Intervals:
    """Returns the pieces of a hole to be decoded; none where that would repeat the decoding of the window.

    Speech without a pause is cut if it has too little text, or is the whole window.
    """
    for cuts in (hole.n_tokens > 0, True):
        pieces = pieces_of(window, hole.start, hole.stop, cuts=cuts)
        if len(pieces) != 1 or pieces[0][1] - pieces[0][0] <= MAX_OF_WINDOW * window.samples.size:
            return pieces
    return ()


def chosen_pieces(window: Window, holes: Sequence[Hole]) -> Intervals:
    """Returns the pieces of holes to be decoded: at most `MAX_PIECES`, the first ones.

    A segment is left as it is unless all of its pieces are among them: other text replaces it as a whole.
    """
    chosen: list[tuple[int, int]] = []
    for hole in holes:
        pieces = hole_pieces(window, hole)
        if not hole.n_tokens or len(chosen) + len(pieces) <= MAX_PIECES:
            chosen += pieces[: MAX_PIECES - len(chosen)]
    return tuple(chosen)


def speech_without_text(
    window: Window, passes: Sequence[DecodePass], dropped: Sequence[DroppedRange] = ()
) -> Intervals:
    """Returns the ranges of at least `MIN_HOLE` of speech that no segment spans and no later window has.

    At the edges of an interval of speech, less than `MIN_HOLE` is a timestamp that is a bit off.
    """
    spanned = [(start, stop) for one in passes for start, stop, _ in one.placed()]
    spanned += [(one.start, one.stop) for one in dropped]
    found: list[tuple[int, int]] = []
    for begin, end in window.speech or ():
        for start, stop in uncovered(begin, min(end, window.n_unshared), sorted(spanned)):
            if stop - start < min(MIN_HOLE, end - begin):
                continue
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, stop))
    return tuple((start, stop) for start, stop in found if stop - start >= MIN_HOLE)


def _is_sparse(window: Window, start: int, stop: int, segment: Segment) -> bool:
    n_speech = sum(max(min(b, stop) - max(a, start), 0) for a, b in window.speech or ())
    n_tokens = len(segment.tokens)
    return n_speech >= MIN_SPARSE and n_tokens < MIN_TOKENS_A_SECOND * n_speech / SAMPLE_RATE


def filled(
    holes: Sequence[Hole], found: Sequence[DecodePass]
) -> tuple[tuple[DecodePass, ...], tuple[tuple[int, int], ...]]:
    """Returns the decodings of pieces to be kept, and (start, stop) of the segments that they replace.

    A segment is replaced only by more text.

    Args:
        holes: the holes of the window.
        found: accepted decodings of their pieces.
    """
    kept: list[DecodePass] = []
    replaced: list[tuple[int, int]] = []
    for hole in holes:
        inside = [one for one in found if hole.start <= one.offset < hole.stop]
        if hole.n_tokens:
            if sum(len(segment.tokens) for one in inside for segment in one.result.segments) <= hole.n_tokens:
                continue
            replaced.append((hole.start, hole.stop))
        kept += inside
    return tuple(kept), tuple(replaced)


def without_filled(dropped: Sequence[DroppedRange], kept: Sequence[DecodePass]) -> tuple[DroppedRange, ...]:
    """Returns what was dropped, except what counted as silence and has text now.

    A text is left out where others cover half of its time or more.

    Args:
        dropped: ranges of the window.
        kept: the decodings of holes that are kept.
    """
    spans = sorted((start, stop) for one in kept for start, stop, _ in one.placed())

    def is_filled(one: DroppedRange) -> bool:
        n_samples = one.stop - one.start
        n_left = sum(stop - start for start, stop in uncovered(one.start, one.stop, spans))
        return 2 * n_left <= n_samples if one.text else n_left < n_samples

    return tuple(one for one in dropped if one.reason != NO_SPEECH or not is_filled(one))


def all_dropped(
    window: Window,
    passes: Sequence[DecodePass],
    dropped: Sequence[DroppedRange],
    rejected: Sequence[DroppedRange],
) -> tuple[DroppedRange, ...]:
    """Returns what was dropped, and all other speech that has no text.

    Args:
        window: the window.
        passes: its accepted passes.
        dropped: ranges that were dropped of it.
        rejected: pieces of holes whose text was rejected, or that the model failed on.
    """
    rests = speech_without_text(window, passes, dropped)
    dropped = (
        *dropped,
        *(one for one in rejected if any(start < one.stop and stop > one.start for start, stop in rests)),
    )
    rests = speech_without_text(window, passes, dropped)
    return (*dropped, *(DroppedRange(start, stop, NO_TEXT) for start, stop in rests))
