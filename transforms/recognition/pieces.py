"""Pieces of a window: stretches of speech between pauses, each of which can be decoded by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from model.interface import SAMPLE_RATE
from transforms.core.types import Intervals, Window
from transforms.recognition.tails import FRAME, frame_levels_db
from transforms.windows.splices import behind, in_recording, length

MAX_PIECE = 6 * SAMPLE_RATE
"""Samples, 6 s. Of a sentence of 1.8 s that is spoken ten times, whisper-base writes four copies for 9.6 s,
which counts as a repetition, and two for 5 s. Turns of two languages are rarely shorter."""

MAX_PIECES = 8
"""Pieces of a window, at most, and so passes for one purpose: 30 s of speech with pauses have no more."""

MIN_PIECE = 3 * SAMPLE_RATE // 10
"""Samples, 0.3 s: a shorter rest of an interval of speech is its padding."""


CUT_RANGE = SAMPLE_RATE
"""Samples, 1 s, before and behind an even division in which the quietest place is searched: a word or two."""

CUT_FRAMES = 5
"""Frames of 20 ms that its loudness is the mean of: shorter dips are in words."""


class PieceKind(StrEnum):
    """Why a piece of a window is decoded."""

    WINDOW = "window"
    """It is the whole window."""
    TAIL = "tail"
    """The model stopped before it."""
    PART = "part"
    """The text of the window repeats itself."""
    LANGUAGE = "language"
    """The language of the window is unsure."""
    RUN = "run"
    """It is in one language, and the window in several."""
    HOLE = "hole"
    """It has no text, or too little."""


@dataclass(frozen=True)
class Piece:
    """A range of a window to be decoded.

    Attributes:
        start: its first sample.
        stop: one past its last sample; None for the end of the window.
        kind: why it is decoded.
        language: code of the language to decode in; None for that of the window, or else to detect it.
        is_full: whether the network is given 30 s of it in any case.
    """

    start: int
    stop: int | None = None
    kind: PieceKind = PieceKind.WINDOW
    language: str | None = None
    is_full: bool = False


def part_of(window: Window, piece: Piece) -> Window:
    """Returns a piece as a window of its own."""
    start, stop = piece.start, window.samples.size if piece.stop is None else piece.stop
    return replace(
        window,
        stretches=_first(behind(window.stretches, start), stop - start),
        samples=window.samples[start:stop],
        n_unshared=min(window.n_unshared, stop) - start,
        language=piece.language or window.language,
        speech=None if window.speech is None else tuple(_within(window.speech, start, stop)),
    )


def pieces_of(window: Window, start: int, stop: int, *, cuts: bool = False) -> Intervals:
    """Divides the speech between two samples of a window at its pauses: at most `MAX_PIECES` pieces.

    Intervals of speech are joined, those with the shortest pause between them first, and of equal ones the
    shortest, to pieces of at most `MAX_PIECE`. What would be more than `MAX_PIECES` is joined as well.
    Without VAD there are no pieces.

    Args:
        window: the window.
        start: the first sample.
        stop: one past the last sample.
        cuts: whether an interval longer than a piece is cut where it is quietest.
    """
    found = [
        part
        for a, b in window.speech or ()
        if min(b, stop) - max(a, start) >= MIN_PIECE
        for part in _cut(window, max(a, start), min(b, stop), cuts=cuts)
    ]
    pauses = [_pause(window, one, other) for one, other in pairwise(found)]
    while pauses:
        joined = [found[n + 1][1] - found[n][0] for n in range(len(pauses))]
        allowed = [n for n in range(len(pauses)) if joined[n] <= MAX_PIECE]
        if not allowed and len(found) <= MAX_PIECES:
            break
        n = min(allowed or range(len(pauses)), key=lambda n: (pauses[n], joined[n], n))
        found[n : n + 2] = [(found[n][0], found[n + 1][1])]
        del pauses[n]
    return tuple(found)


def _cut(window: Window, start: int, stop: int, *, cuts: bool) -> Intervals:
    """Cuts an interval into parts of about the same length, at most `MAX_PIECE`, at the quietest places."""
    n_parts = -(-(stop - start) // MAX_PIECE) if cuts else 1
    if n_parts == 1:
        return ((start, stop),)
    weights = np.full(CUT_FRAMES, 1 / CUT_FRAMES)
    levels = np.convolve(frame_levels_db(window.samples[start:stop]), weights, "same")
    bounds, n_around = [start], CUT_RANGE // FRAME
    for number in range(1, n_parts):
        middle = len(levels) * number // n_parts
        around = levels[middle - n_around : middle + n_around]
        bounds.append(start + (middle - n_around + int(around.argmin())) * FRAME)
    return tuple(pairwise([*bounds, stop]))


def _pause(window: Window, one: tuple[int, int], other: tuple[int, int]) -> int:
    """Returns the samples of the recording between two intervals of speech."""
    return in_recording(window.stretches, *other)[0] - in_recording(window.stretches, *one)[1]


def _first(stretches: Intervals, n_samples: int) -> Intervals:
    """Returns the stretches of the first samples of a window."""
    kept: list[tuple[int, int]] = []
    for start, stop in stretches:
        n_left = n_samples - length(tuple(kept))
        if n_left <= 0:
            break
        kept.append((start, min(stop, start + n_left)))
    return tuple(kept)


def _within(speech: Intervals, start: int, stop: int) -> Iterator[tuple[int, int]]:
    for begin, end in speech:
        if begin < stop and end > start:
            yield max(begin, start) - start, min(end, stop) - start
