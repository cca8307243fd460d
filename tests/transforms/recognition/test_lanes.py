from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from model.interface import Request, WindowResult
from tests.support.batch_clients import StepTranscriber, StopError, answered, number_of, request
from tests.support.fake_transcribers import BrokenTranscriber, FakeTranscriber, window
from transforms.recognition.lanes import Answer, Lane, ModelError, check_transcriber

SILENCE = 0


def no_check() -> None:
    pass


def new_lane(model: StepTranscriber, check: Callable[[], None] = no_check) -> Lane:
    return Lane(model, check)


def requests(*numbers: int, n_turns: int = 1, group: str = "") -> list[Request]:
    return [request(number, n_turns, group) for number in numbers]


def rest(lane: Lane) -> list[tuple[Request, Answer]]:
    """The answers of all windows that the lane has."""
    answers = []
    while lane.is_dividing or lane.groups:
        group = lane.groups[0] if lane.groups else None
        answers += lane.turn(group, [], has_more=False)
    return answers


def outcomes(answers: Sequence[tuple[Request, Answer]]) -> dict[int, str]:
    """The text or the exception of each window; each was answered once."""
    found = {
        number_of(one): answer.segments[0].text if isinstance(answer, WindowResult) else str(answer)
        for one, answer in answers
    }
    assert len(found) == len(answers)
    return found


def test_a_free_row_takes_the_next_window_while_others_of_its_batch_go_on() -> None:
    model = StepTranscriber(2)
    lane = new_lane(model)
    assert lane.n_free(None) == 2
    assert answered(lane.turn(None, [request(1, 3), request(2)], has_more=True)) == [2]
    assert (lane.n_free(None), lane.groups) == (1, [None])
    assert answered(lane.turn(None, requests(3), has_more=True)) == [3]
    assert answered(lane.turn(None, requests(4), has_more=False)) == [1, 4]
    assert model.turns == [(1, 2), (1, 3), (1, 4)]
    assert (model.made, lane.groups) == ([2], [])


def test_a_batch_stops_for_the_windows_that_wait_and_for_no_others() -> None:
    model = StepTranscriber(8)
    model.n_refilled = 2
    lane = new_lane(model)
    assert lane.n_refilled(None) == 1  # a new batch is begun for one window
    lane.turn(None, requests(1, 2, 3, n_turns=2), has_more=True)
    assert lane.n_refilled(None) == 2
    lane.turn(None, [], has_more=False)
    assert model.given == [5 + 2, None]


def test_batches_of_several_groups_take_turns() -> None:
    model = StepTranscriber(2)
    lane = new_lane(model)
    lane.turn("a", requests(1, n_turns=3, group="a"), has_more=False)
    lane.turn("b", requests(2, n_turns=3, group="b"), has_more=False)
    assert lane.groups == ["a", "b"]
    lane.turn("a", [], has_more=False)
    assert lane.groups == ["b", "a"]
    assert outcomes(rest(lane)) == {1: "1", 2: "2"}
    assert model.turns == [(1,), (2,), (1,), (2,), (1,), (2,)]


@pytest.mark.parametrize("failing", [{1}, {8}, {4, 5}, {1, 3, 8}, set(range(1, 9))])
def test_windows_that_fail_are_isolated_and_the_others_have_their_results(failing: set[int]) -> None:
    model = StepTranscriber(8)
    model.failing = failing
    lane = new_lane(model)
    answers = lane.turn(None, requests(*range(1, 9)), has_more=False) + rest(lane)
    assert outcomes(answers) == {n: "poisoned" if n in failing else str(n) for n in range(1, 9)}
    assert model.turns.count((SILENCE,)) == len(failing)


def test_windows_in_the_middle_of_a_batch_that_fails_have_their_results() -> None:
    model = StepTranscriber(4)
    model.failing = {3}
    lane = new_lane(model)
    answers = lane.turn(None, requests(1, 2, n_turns=5), has_more=True)
    answers += lane.turn(None, requests(3), has_more=False)
    assert lane.is_dividing
    assert outcomes(answers + rest(lane)) == {1: "1", 2: "2", 3: "poisoned"}


def test_while_windows_are_decoded_one_by_one_those_of_other_batches_wait() -> None:
    model = StepTranscriber(2)
    model.failing = {3}
    lane = new_lane(model)
    answers = lane.turn("b", requests(1, 2, n_turns=3, group="b"), has_more=True)
    answers += lane.turn(None, requests(3, 4, n_turns=2), has_more=False)
    answers += lane.turn(None, [], has_more=False)
    assert (lane.is_dividing, lane.groups) == (True, ["b"])
    assert outcomes(answers + rest(lane)) == {1: "1", 2: "2", 3: "poisoned", 4: "4"}


def test_an_exception_of_one_row_does_not_divide_its_batch_but_the_model_is_checked() -> None:
    model = StepTranscriber(4)
    model.refused = {2}
    lane = new_lane(model)
    answers = lane.turn(None, [request(1, 2), request(2), request(3)], has_more=False)
    assert outcomes(answers) == {2: "2 is refused", 3: "3"}
    assert not lane.is_dividing
    assert outcomes(rest(lane)) == {1: "1"}
    assert model.turns == [(1, 2, 3), (SILENCE,), (1,)]


def test_a_window_that_the_model_loses_fails() -> None:
    model = StepTranscriber(4)
    model.dropped = {2}
    lane = new_lane(model)
    answers = lane.turn(None, requests(1, 2, 3), has_more=False) + rest(lane)
    assert outcomes(answers) == {1: "1", 2: "the model gave 0 results for 1 windows", 3: "3"}


def test_after_memory_ran_out_batches_have_half_the_rows() -> None:
    model = StepTranscriber(8)
    model.max_rows = 2
    lane = new_lane(model)
    answers = lane.turn(None, requests(*range(1, 9)), has_more=False)
    assert lane.n_free(None) == 4
    assert outcomes(answers + rest(lane)) == {number: str(number) for number in range(1, 9)}
    assert (lane.n_rows, lane.n_free(None)) == (2, 2)
    assert model.made == [8, 4] + [2] * 8
    assert outcomes(lane.turn(None, requests(11, 12), has_more=False)) == {11: "11", 12: "12"}


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 7 GB"), RuntimeError("std::bad_alloc")]
)
def test_a_window_that_no_memory_suffices_for_is_isolated(error: Exception) -> None:
    model = StepTranscriber(4)
    model.failing, model.error = {2}, error
    lane = new_lane(model)
    answers = lane.turn(None, requests(1, 2, 3), has_more=False) + rest(lane)
    assert outcomes(answers) == {1: "1", 2: str(error), 3: "3"}
    assert lane.n_rows == 1


def test_other_errors_leave_the_rows() -> None:
    model = StepTranscriber(4)
    model.failing = {1}
    lane = new_lane(model)
    lane.turn(None, requests(1), has_more=False)
    rest(lane)
    assert lane.n_rows == 4


def test_a_lane_may_begin_with_fewer_rows() -> None:
    model = StepTranscriber(4)
    lane = Lane(model, no_check, 3)
    lane.turn(None, requests(1), has_more=False)
    assert model.made == [3]


def test_a_model_that_cannot_transcribe_silence_is_a_model_error() -> None:
    check_transcriber(FakeTranscriber())
    lane = Lane(BrokenTranscriber(1), no_check)
    assert lane.turn(None, [Request(window(1).samples)], has_more=False) == []
    with pytest.raises(ModelError, match=r"silence: MemoryError: out of memory; .* smaller --batch_size"):
        rest(lane)


def test_silence_that_is_answered_with_an_exception_is_a_model_error() -> None:
    model = StepTranscriber()
    check_transcriber(model)
    model.refused = {SILENCE}
    with pytest.raises(ModelError, match="0 is refused"):
        check_transcriber(model)


def test_no_call_is_made_when_the_check_raises() -> None:
    def check() -> None:
        raise StopError

    model = StepTranscriber()
    with pytest.raises(StopError):
        new_lane(model, check).turn(None, requests(1), has_more=False)
    assert (model.made, model.turns) == ([], [])


def test_a_stop_while_windows_are_decoded_one_by_one_is_no_failure_of_a_window() -> None:
    model = StepTranscriber()
    model.failing = {1}
    n_left = 3

    def check() -> None:
        nonlocal n_left
        n_left -= 1
        if not n_left:
            raise StopError

    lane = new_lane(model, check)
    assert lane.turn(None, [request(1), request(2, 9)], has_more=False) == []
    assert outcomes(lane.turn(None, [], has_more=False)) == {1: "poisoned"}
    with pytest.raises(StopError):
        lane.turn(None, [], has_more=False)
