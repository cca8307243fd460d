from __future__ import annotations

import numpy as np
import pytest

from model.interface import SAMPLE_RATE
from transforms.core.types import Intervals, Window
from transforms.recognition.pieces import MAX_PIECE, MAX_PIECES, Piece, PieceKind, part_of, pieces_of


def seconds(*intervals: tuple[float, float]) -> Intervals:
    return tuple((int(start * SAMPLE_RATE), int(stop * SAMPLE_RATE)) for start, stop in intervals)


def packed(*speech: tuple[float, float]) -> Window:
    """A window packed with these seconds of its recording."""
    stretches: list[tuple[int, int]] = []
    places, n_samples = [], 0
    for start, stop in seconds(*speech):
        if stretches and stretches[-1][1] == start:
            stretches[-1] = stretches[-1][0], stop
        else:
            stretches.append((start, stop))
        places.append((n_samples, n_samples + stop - start))
        n_samples += stop - start
    samples = np.arange(n_samples, dtype=np.float32)
    return Window("id", 0, tuple(stretches), samples, n_samples, None, tuple(places))


def test_a_part_has_the_stretches_and_the_speech_of_its_samples() -> None:
    window = packed((0, 2), (5, 7), (7, 9), (20, 23))
    part = part_of(window, Piece(SAMPLE_RATE, 7 * SAMPLE_RATE, PieceKind.HOLE, "de"))
    assert part.stretches == seconds((1, 2), (5, 9), (20, 21))
    assert part.speech == seconds((0, 1), (1, 3), (3, 5), (5, 6))
    assert (part.samples.size, part.n_unshared, part.samples[0]) == (6 * SAMPLE_RATE, 6 * SAMPLE_RATE, 16_000)
    assert (part.language, part.index, window.language) == ("de", 0, None)


def test_a_part_without_an_end_is_the_rest_of_the_window() -> None:
    part = part_of(packed((0, 2), (5, 7)), Piece(3 * SAMPLE_RATE, None, PieceKind.TAIL))
    assert (part.stretches, part.speech, part.language) == (seconds((6, 7)), seconds((0, 1)), None)


@pytest.mark.parametrize(
    ("speech", "expected"),
    [
        ([(0, 3), (4, 7), (9, 12)], [(0, 6), (6, 9)]),  # over the shorter pause
        ([(0, 3), (5, 8), (9, 12)], [(0, 3), (3, 9)]),
        ([(0, 4), (4, 8)], [(0, 4), (4, 8)]),  # together longer than a piece
        ([(0, 20), (21, 22)], [(0, 20), (20, 21)]),
        ([(0, 20)], [(0, 20)]),
        ([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8)], [(0, 4), (4, 8)]),
    ],
)
def test_speech_is_divided_at_its_longest_pauses(
    speech: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    window = packed(*speech)
    assert pieces_of(window, 0, window.samples.size) == seconds(*expected)


def test_there_is_a_most_number_of_pieces() -> None:
    window = packed(*((6 * n, 6 * n + 3.1) for n in range(9)))
    pieces = pieces_of(window, 0, window.samples.size)
    assert len(pieces) == MAX_PIECES
    assert max(stop - start for start, stop in pieces) > MAX_PIECE


def test_pieces_of_a_range_are_cut_to_it_and_rests_of_intervals_are_left_out() -> None:
    window = packed((0, 4), (5, 9), (10, 14))
    assert pieces_of(window, *seconds((2.5, 8.2))[0]) == seconds((2.5, 8))
    assert pieces_of(window, *seconds((0, 0))[0]) == ()


def test_without_voice_activity_detection_there_are_no_pieces() -> None:
    samples = np.zeros(10 * SAMPLE_RATE, np.float32)
    window = Window("id", 0, ((0, samples.size),), samples, samples.size)
    assert pieces_of(window, 0, samples.size) == ()
    assert part_of(window, Piece(16_000)).speech is None


def test_a_long_interval_is_cut_where_it_is_quietest_if_cuts_are_wanted() -> None:
    noise = np.random.default_rng(0).standard_normal(16 * SAMPLE_RATE).astype(np.float32)
    for quiet_s in (5.0, 11.25):
        noise[int(quiet_s * SAMPLE_RATE) : int((quiet_s + 0.2) * SAMPLE_RATE)] *= 0.001
    window = Window("id", 0, ((0, noise.size),), noise, noise.size, None, ((0, noise.size),))
    assert pieces_of(window, 0, noise.size) == seconds((0, 16))
    bounds = [start / SAMPLE_RATE for start, _ in pieces_of(window, 0, noise.size, cuts=True)]
    assert bounds == pytest.approx([0, 5.1, 11.35], abs=0.1)
    short = packed((0, 6), (8, 12))
    assert pieces_of(short, 0, short.samples.size, cuts=True) == seconds((0, 6), (6, 10))
