from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, get_ident
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import Request, WindowResult
from tests.support.batch_clients import (
    TIMEOUT_S,
    StepTranscriber,
    StopError,
    Turn,
    all_answered,
    answered,
    make_client,
    number_of,
    request,
    run_all,
    submit,
)
from tests.support.executors import DeferredExecutor, InlineExecutor
from transforms.recognition import batching
from transforms.recognition.batching import BatchScheduler
from transforms.recognition.lanes import ModelError

WINDOWS = st.tuples(st.integers(1, 4), st.booleans(), st.integers(1, 3), st.sampled_from(["", "a", "b"]))


@given(
    n_lanes=st.integers(1, 4),
    batch_size=st.integers(1, 9),
    windows=st.lists(WINDOWS, max_size=60),
    failing=st.sets(st.integers(1, 60), max_size=3),
    inline=st.booleans(),
)
def test_every_window_is_answered_as_often_as_it_was_submitted(
    n_lanes: int,
    batch_size: int,
    windows: list[tuple[int, bool, int, str]],
    failing: set[int],
    inline: bool,
) -> None:
    """Window i is submitted `windows[i][0]` times, as a new one or as a repeated one."""
    model = StepTranscriber(batch_size, n_lanes)
    model.failing = failing
    seen: list[int] = []

    def consume(*, wait: bool) -> None:
        while pairs := client.completed(wait=wait):
            for one, result in pairs:
                number = number_of(one)
                assert isinstance(result, WindowResult) is (number not in failing)
                seen.append(number)
                n_tries, is_repeated, n_turns, group = windows[number - 1]
                if seen.count(number) < n_tries:
                    priority = seen.count(number) if is_repeated else 0
                    client.submit(request(number, n_turns, group), priority)

    with InlineExecutor() if inline else ThreadPoolExecutor(n_lanes) as executor:
        client = make_client(executor, model)
        for number, (_, _, n_turns, group) in enumerate(windows, 1):
            submit(client, number, n_turns=n_turns, group=group)
            consume(wait=False)
        consume(wait=True)
    assert sorted(seen) == [n for n, (n_tries, *_) in enumerate(windows, 1) for _ in range(n_tries)]
    assert all(1 <= len(turn) <= batch_size for turn in model.turns)
    assert client.completed(wait=True) == []


def test_a_free_row_takes_the_next_window_while_others_go_on() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2)
    client = make_client(executor, model)
    submit(client, 1, n_turns=3)
    submit(client, 2, 3, 4)
    run_all(executor)
    assert answered(client.completed(wait=True)) == [2, 3, 1, 4]
    assert model.turns == [(1, 2), (1, 3), (1, 4)]
    assert model.given == [1, 1, None]  # while others wait, it stops once a row is free
    assert model.made == [2]


def test_rows_are_refilled_together_if_the_model_encodes_windows_together() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    model.n_refilled = 2
    client = make_client(executor, model)
    for number, n_turns in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 1)):
        submit(client, number, n_turns=n_turns)
    run_all(executor)
    assert model.turns == [(1, 2, 3, 4), (2, 3, 4), (3, 4, 5, 6), (4,)]


@pytest.mark.parametrize(
    ("n_windows", "n_lanes", "expected"),
    [(9, 2, [5, 4]), (6, 1, [6]), (3, 4, [1, 1, 1]), (10, 4, [3, 3, 3, 1]), (16, 2, [8, 8]), (24, 2, [8, 8])],
)
def test_windows_are_divided_evenly_among_the_lanes(
    n_windows: int, n_lanes: int, expected: list[int]
) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(8, n_lanes)
    client = make_client(executor, model)
    submit(client, *range(1, n_windows + 1))
    sizes: list[int] = []

    def next_lane(turn: Turn) -> None:
        """Starts the next lane while this one is at its first turn."""
        if len(sizes) < len(expected):
            sizes.append(len(turn))
            executor.run_first(1)

    model.on_turn = next_lane
    executor.run_first(1)
    assert sizes == expected


def test_a_lane_takes_no_more_than_its_share_while_another_has_fewer() -> None:
    model, started, proceed = StepTranscriber(8, 2), Event(), Event()

    def hold(turn: Turn) -> None:
        if 1 in turn:
            started.set()
            assert proceed.wait(TIMEOUT_S)

    model.on_turn = hold
    with ThreadPoolExecutor(2) as executor:
        client = make_client(executor, model)
        submit(client, 1)
        assert started.wait(TIMEOUT_S)
        submit(client, 2)
        assert answered(client.completed(wait=True)) == [2]  # in the other lane
        proceed.set()
        assert all_answered(client) == [1]
    assert model.turns == [(1,), (2,)]


def test_it_blocks_only_once_enough_windows_wait_for_each_row() -> None:
    executor, n_checks = DeferredExecutor(), 0

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 9:
            raise StopError  # it waits: it checks again, although `completed` was called once

    client = BatchScheduler(executor, StepTranscriber(2, n_lanes=2)).client(check)
    for number in range(1, 8):
        submit(client, number)
        assert client.completed(wait=False) == []
    submit(client, 8)
    with pytest.raises(StopError):
        client.completed(wait=False)


def test_repeated_windows_go_before_new_ones_and_those_of_high_priority_first() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(1)
    client = make_client(executor, model)
    for number, priority in ((1, 0), (2, 1), (3, 3), (4, 1), (5, 2), (6, 0)):
        client.submit(request(number), priority)
    run_all(executor)
    assert answered(client.completed(wait=True)) == [3, 5, 2, 4, 1, 6]


def test_groups_do_not_wait_for_each_other_if_a_lane_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "longest_wait_s", lambda *, is_short: 1e9)
    for batch_size in (1, 2):
        executor, model = DeferredExecutor(), StepTranscriber(batch_size)
        client = make_client(executor, model)
        for number, group in enumerate("abba", 1):
            submit(client, number, group=group)
        run_all(executor)
        assert sorted(answered(client.completed(wait=True))) == [1, 2, 3, 4]


def test_turns_are_observed_on_the_thread_of_the_client() -> None:
    observed: list[tuple[int, float, int]] = []
    executor, model = DeferredExecutor(), StepTranscriber(3)
    model.on_turn = lambda turn: sleep(0.01)
    scheduler = BatchScheduler(executor, model)
    client = scheduler.client(observe=lambda n, seconds: observed.append((n, seconds, get_ident())))
    submit(client, 1, 2, 3, 4, 5)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(run_all, executor).result(TIMEOUT_S)
    assert observed == []
    assert sorted(all_answered(client)) == [1, 2, 3, 4, 5]
    assert [(n, thread) for n, _, thread in observed] == [(3, get_ident()), (2, get_ident())]
    assert all(seconds >= 0.01 for _, seconds, _ in observed)


def test_an_exception_of_a_lane_is_raised_and_queued_windows_are_not_decoded() -> None:
    model = StepTranscriber(1)
    model.failing = {0, 1}  # number 0 is silence
    executor = DeferredExecutor()
    client = make_client(executor, model)
    submit(client, 1, 2)
    run_all(executor)
    run_all(executor)  # the lane that would be next
    with pytest.raises(ModelError):
        client.completed(wait=True)
    model.failing = ()
    run_all(executor)
    assert model.turns == [(1,), (1,), (0,)]
    submit(client, 3)
    run_all(executor)
    assert all_answered(client) == [3]


def test_a_stop_of_the_process_is_checked_before_each_turn() -> None:
    model, n_checks = StepTranscriber(1), 0

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 3:
            raise StopError

    executor = DeferredExecutor()
    client = make_client(executor, model, check)
    submit(client, 1, 2, 3)
    run_all(executor)
    with pytest.raises(StopError):
        client.completed(wait=True)
    assert model.turns == [(1,), (2,)]


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_an_exception_of_the_check_of_a_client_drops_its_windows(error: type[BaseException]) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(1)

    def check() -> None:
        raise error

    client = BatchScheduler(executor, model).client(check)
    submit(client, 1, 2, 3)
    with pytest.raises(error):
        client.completed(wait=False)
    run_all(executor)
    assert model.turns == []


def test_after_cancel_it_starts_anew_and_results_of_running_windows_are_dropped() -> None:
    model, started, proceed = StepTranscriber(1, 2), Event(), Event()

    def hold(turn: Turn) -> None:
        started.set()
        assert proceed.wait(TIMEOUT_S)

    model.on_turn = hold
    with ThreadPoolExecutor(2) as executor:
        client = make_client(executor, model)
        submit(client, 1, 2, 3)
        assert started.wait(TIMEOUT_S)
        client.submit(request(9), priority=1)
        client.cancel()
        proceed.set()
        assert client.completed(wait=True) == []
        submit(client, 5)
        assert all_answered(client) == [5]
    assert set(model.turns) <= {(1,), (2,), (5,)}


def test_windows_that_lanes_have_are_finished_after_the_executor_is_shut_down() -> None:
    model, started, proceed = StepTranscriber(2), Event(), Event()

    def hold(turn: Turn) -> None:
        started.set()
        assert proceed.wait(TIMEOUT_S)

    model.on_turn = hold
    executor = ThreadPoolExecutor(1)
    client = make_client(executor, model)
    submit(client, 1, 2, 3, 4, 5)
    assert started.wait(TIMEOUT_S)
    executor.shutdown(wait=False)
    proceed.set()
    assert sorted(all_answered(client)) == [1, 2, 3, 4, 5]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shutdown"):
            submit(client, 6)
        with pytest.raises(RuntimeError, match="shutdown"):
            client.completed(wait=True)
        assert client.completed(wait=True) == []  # it was dropped


class InterruptedExecutor(DeferredExecutor):
    """Is interrupted once, before or behind the call was queued."""

    def __init__(self, *, is_late: bool) -> None:
        super().__init__()
        self.is_late, self.is_interrupted = is_late, False

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        if self.is_interrupted:
            return super().submit(fn, *args, **kwargs)
        self.is_interrupted = True
        if self.is_late:
            super().submit(fn, *args, **kwargs)
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_late", [False, True])
def test_an_interrupt_while_a_lane_is_started_blocks_no_later_client(is_late: bool) -> None:
    executor, model = InterruptedExecutor(is_late=is_late), StepTranscriber(2)
    scheduler = BatchScheduler(executor, model)
    interrupted, other = scheduler.client(), scheduler.client()
    with pytest.raises(KeyboardInterrupt):
        submit(interrupted, 1)
    interrupted.cancel()
    submit(other, 2, 3)
    run_all(executor)
    assert sorted(all_answered(other)) == [2, 3]
    assert model.turns == [(2, 3)]


def test_later_lanes_have_fewer_rows_once_memory_ran_out() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(8)
    model.max_rows = 2
    client = make_client(executor, model)
    for first in (1, 11):
        numbers = list(range(first, first + 8))
        submit(client, *numbers)
        run_all(executor)
        assert sorted(all_answered(client)) == numbers
    assert model.made[:2] == [8, 4]
    assert set(model.made[2:]) == {2}


def test_several_schedulers_share_an_executor() -> None:
    def decoded(executor: Executor, n: int) -> list[int]:
        client = make_client(executor, StepTranscriber(3, 2))
        submit(client, *range(1, n + 1))
        return sorted(all_answered(client))

    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: decoded(executor, n), (5, 6, 7, 8)))
    assert found == [list(range(1, n + 1)) for n in (5, 6, 7, 8)]


def test_requests_are_the_objects_that_were_submitted() -> None:
    executor = DeferredExecutor()
    client = make_client(executor, StepTranscriber(4))
    given = [request(1), request(1)]
    for one in given:
        client.submit(one)
    run_all(executor)
    found: list[Request] = [one for one, _ in client.completed(wait=True)]
    assert [id(one) for one in found] == [id(one) for one in given]
