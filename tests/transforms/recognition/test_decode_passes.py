from __future__ import annotations

from model.interface import Segment, WindowResult
from transforms.recognition.decode_passes import DecodePass, emptied, in_time_order


def decode_pass(offset: int, *texts: tuple[int, str], repeated: bool = False) -> DecodePass:
    segments = tuple(Segment(start, start + 10, text) for start, text in texts)
    return DecodePass(offset, WindowResult(segments, "en", {"en": 0.9}, repeated=repeated))


def texts(passes: tuple[DecodePass, ...]) -> list[list[str]]:
    return [[segment.text for segment in one.result.segments] for one in passes]


def test_segments_are_placed_in_the_window() -> None:
    one = decode_pass(100, (5, "a"), (20, "b"))
    assert [(start, stop, segment.text) for start, stop, segment in one.placed()] == [
        (105, 115, "a"),
        (120, 130, "b"),
    ]


def test_an_emptied_pass_has_the_scores_of_the_window_and_neither_text_nor_repetition() -> None:
    empty = emptied(decode_pass(0, (0, "a"), repeated=True))
    assert (empty.result.segments, empty.result.repeated) == ((), False)
    assert empty.result.language_probs == {"en": 0.9}


def test_an_added_pass_divides_the_one_that_it_lies_in() -> None:
    first, hole = decode_pass(0, (0, "a"), (90, "c")), decode_pass(40, (0, "b"))
    ordered = in_time_order([first], [hole])
    assert texts(ordered) == [["a"], ["b"], ["c"]]
    assert [one.offset for one in ordered] == [0, 40, 0]


def test_of_a_pass_that_is_divided_the_last_part_has_the_repetition() -> None:
    first, hole = decode_pass(0, (0, "a"), (90, "c"), repeated=True), decode_pass(40, (0, "b"))
    assert [one.result.repeated for one in in_time_order([first], [hole])] == [False, False, True]


def test_the_first_pass_comes_first_even_if_its_text_does_not() -> None:
    first, hole = decode_pass(0, (90, "c")), decode_pass(40, (0, "b"))
    assert texts(in_time_order([first], [hole])) == [[], ["b"], ["c"]]
    assert texts(in_time_order([decode_pass(0)], [])) == [[]]


def test_replaced_segments_are_left_out() -> None:
    first, hole = decode_pass(0, (0, "a"), (40, "x"), (90, "c")), decode_pass(40, (0, "b"))
    assert texts(in_time_order([first], [hole], [(40, 50)])) == [["a"], ["b"], ["c"]]
    assert texts(in_time_order([first, decode_pass(100, (0, "d"))], [])) == [["a", "x", "c"], ["d"]]
