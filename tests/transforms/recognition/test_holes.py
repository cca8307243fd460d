from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Segment, WindowResult
from transforms.core.types import Intervals, Window
from transforms.recognition.decode_passes import DecodePass, DroppedRange
from transforms.recognition.holes import (
    Hole,
    chosen_pieces,
    filled,
    find_holes,
    hole_pieces,
    speech_without_text,
)
from transforms.recognition.pieces import MAX_PIECES


def seconds(*intervals: tuple[float, float]) -> Intervals:
    return tuple((int(start * SAMPLE_RATE), int(stop * SAMPLE_RATE)) for start, stop in intervals)


def window(*speech: tuple[float, float]) -> Window:
    samples = np.zeros(30 * SAMPLE_RATE, np.float32)
    return Window("id", 0, ((0, samples.size),), samples, samples.size, None, seconds(*speech))


def decode_pass(*segments: tuple[float, float], n_tokens: int = 0, offset_s: float = 0) -> DecodePass:
    tokens = tuple(range(n_tokens))
    written = tuple(Segment(start, stop, " text", tokens) for start, stop in seconds(*segments))
    return DecodePass(int(offset_s * SAMPLE_RATE), WindowResult(written, "en"))


TURNS = window((0, 10), (10, 15), (15, 24), (24, 29))


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([(0, 10), (24, 29)], [(10, 24)]),  # in the middle
        ([(0, 9.2), (24.5, 29)], [(10, 24)]),  # times that are a bit off, at the edges of speech
        ([(0, 8.5), (24, 29)], [(8.5, 24)]),
        ([(10, 29)], [(0, 10)]),  # at the start
        ([], [(0, 29)]),
        ([(0, 12), (12.9, 29)], []),
        ([(0, 29)], []),
    ],
)
def test_speech_without_text_is_what_no_segment_spans(
    segments: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    assert speech_without_text(TURNS, [decode_pass(*segments)]) == seconds(*expected)


def test_pauses_and_short_sounds_are_no_holes() -> None:
    assert speech_without_text(window((0, 10), (20, 20.9)), [decode_pass((0, 10))]) == ()
    words = window((0, 10), (12, 12.8), (12.8, 13.6), (20, 25))
    assert speech_without_text(words, [decode_pass((0, 10), (20, 25))]) == seconds((12, 13.6))


def test_what_a_later_window_has_or_was_dropped_is_no_hole() -> None:
    shared = replace(TURNS, n_unshared=12 * SAMPLE_RATE)
    assert speech_without_text(shared, [decode_pass((0, 10))]) == seconds((10, 12))
    (dropped,) = (DroppedRange(start, stop, "remainder") for start, stop in seconds((10, 29)))
    assert speech_without_text(TURNS, [decode_pass((0, 10))], [dropped]) == ()


def test_a_pass_behind_the_first_spans_its_part_of_the_window() -> None:
    passes = [decode_pass((0, 10)), decode_pass((0, 19), offset_s=10)]
    assert speech_without_text(TURNS, passes) == ()


def test_a_segment_with_far_too_few_tokens_for_its_speech_is_a_hole() -> None:
    for n_tokens, holes in ((5, (Hole(0, 24 * SAMPLE_RATE, 5),)), (29, ()), (0, ())):
        sparse, rest = decode_pass((0, 24), n_tokens=n_tokens), decode_pass((24, 29))
        assert find_holes(TURNS, [sparse, rest]) == holes
    short = window((0, 2.5))
    assert find_holes(short, [decode_pass((0, 2.5), n_tokens=1)]) == ()
    in_pauses = window((0, 5), (25, 30))
    assert find_holes(in_pauses, [decode_pass((0, 30), n_tokens=15)]) == ()


def test_a_hole_is_decoded_in_pieces_that_are_not_the_whole_window() -> None:
    assert hole_pieces(TURNS, Hole(*seconds((10, 24))[0])) == seconds((10, 15), (15, 24))
    samples = np.zeros(5 * SAMPLE_RATE, np.float32)
    clip = Window("id", 0, ((0, 80_000),), samples, 80_000, None, ((0, 80_000),))
    assert hole_pieces(clip, Hole(0, 80_000)) == hole_pieces(clip, Hole(0, 80_000, 2)) == ()


def test_holes_are_decoded_up_to_a_number_of_pieces_and_segments_only_as_a_whole() -> None:
    turns = window(*((3.0 * n, 3.0 * n + 3) for n in range(10)))
    holes = [Hole(*part) for part in seconds((0, 24), (24, 30))]
    assert len(chosen_pieces(turns, holes)) == 5
    words = [Hole(3 * n * SAMPLE_RATE, (3 * n + 3) * SAMPLE_RATE) for n in range(10)]
    assert len(chosen_pieces(turns, words)) == MAX_PIECES
    sparse = Hole(*seconds((18, 30))[0], 5)
    assert chosen_pieces(turns, [*words[:6], sparse])[6:] == seconds((18, 24), (24, 30))
    assert len(chosen_pieces(turns, [*words[:7], replace(sparse, start=sparse.start + 48_000)])) == 7


def test_speech_without_a_pause_is_cut_if_it_has_too_little_text_or_is_the_whole_window() -> None:
    assert len(hole_pieces(window((0, 30)), Hole(0, 30 * SAMPLE_RATE))) == 5
    long = window((0, 12), (15, 30))
    assert hole_pieces(long, Hole(0, 12 * SAMPLE_RATE)) == seconds((0, 12))
    assert len(hole_pieces(long, Hole(0, 12 * SAMPLE_RATE, 5))) == 2


def test_the_segment_at_which_a_repetition_was_stopped_is_a_hole() -> None:
    whole = decode_pass((0, 10), (10, 29), n_tokens=90)
    assert find_holes(TURNS, [whole]) == ()
    stopped = replace(whole, result=replace(whole.result, repeated=True))
    assert find_holes(TURNS, [stopped]) == (Hole(10 * SAMPLE_RATE, 29 * SAMPLE_RATE, 90),)


def test_a_segment_is_replaced_only_by_more_text() -> None:
    hole = Hole(0, 24 * SAMPLE_RATE, 5)
    texts = [decode_pass((0, 5), n_tokens=4, offset_s=offset_s) for offset_s in (0, 6, 12)]
    assert filled([hole], texts) == (tuple(texts), ((hole.start, hole.stop),))
    assert filled([hole], texts[:1]) == ((), ())
    empty = Hole(0, 24 * SAMPLE_RATE)
    assert filled([empty], texts[1:]) == (tuple(texts[1:]), ())
    assert filled([empty], [decode_pass((0, 1), offset_s=25)]) == ((), ())
