"""`BatchScheduler` with several clients."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import WindowResult
from tests.support.batch_clients import (
    TIMEOUT_S,
    StepTranscriber,
    Turn,
    all_answered,
    answered,
    number_of,
    request,
    run_all,
    shared_clients,
    submit,
)
from tests.support.executors import DeferredExecutor
from transforms.recognition import batching
from transforms.recognition.batching import BatchClient, BatchScheduler
from transforms.recognition.lanes import ModelError


def at_turn(model: StepTranscriber, turns: dict[int, Callable[[], object]]) -> None:
    """Has something done during some calls of the model, counted from 1."""
    model.on_turn = lambda turn: turns.get(len(model.turns), lambda: None)()


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only where the test lets it pass."""
    now = [100.0]
    monkeypatch.setattr(batching, "monotonic", lambda: now[0])
    return now


def test_clients_share_batches() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    one, other = shared_clients(executor, model, 2)
    for client, number in ((one, 1), (other, 2), (one, 3), (other, 4)):
        submit(client, number)
    assert answered(one.completed(wait=True)) == [1, 3]
    assert answered(other.completed(wait=True)) == [2, 4]
    assert one.completed(wait=True) == other.completed(wait=True) == []
    assert model.turns == [(1, 2, 3, 4)]


def test_a_window_of_a_short_client_joins_those_of_a_long_one_that_run() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(3)
    long, short = shared_clients(executor, model, 2)
    for number in range(10, 20):
        submit(long, number, n_turns=1 + number % 3)
    at_turn(model, {2: lambda: submit(short, 1, n_turns=2)})
    run_all(executor)
    assert model.turns[:4] == [(10, 11, 12), (10, 11, 13), (11, 13, 14), (14, 1, 15)]
    assert answered(short.completed(wait=True)) == [1]
    assert sorted(all_answered(long)) == list(range(10, 20))


def test_clients_take_turns() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2)
    clients = shared_clients(executor, model, 3)
    for first, client in zip((0, 10, 20), clients, strict=True):
        submit(client, *range(first, first + 5))
    run_all(executor)
    assert model.turns == [(0, 10), (20, 1), (11, 21), (2, 12), (22, 3), (13, 23), (4, 14), (24,)]


def test_a_client_whose_window_is_repeated_is_served_in_turn_too() -> None:
    """Windows that keep coming must not keep a repeated one waiting for ever."""
    executor, model = DeferredExecutor(), StepTranscriber(2)
    repeating, *others = shared_clients(executor, model, 4)
    for number, client in enumerate(others, 1):
        submit(client, number)
    repeating.submit(request(9), priority=1)
    numbers = iter(range(10, 40))
    model.on_turn = lambda turn: [submit(client, next(numbers)) for client in others if len(model.turns) < 9]
    run_all(executor)
    assert 9 in model.turns[1]


def test_windows_of_different_groups_share_no_batch() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    one, other = shared_clients(executor, model, 2)
    submit(one, 1, 2)
    submit(one, 11, group="b")
    submit(other, 12, group="b")
    assert sorted(all_answered(one)) == [1, 2, 11]
    assert all_answered(other) == [12]
    assert {frozenset(turn) for turn in model.turns} == {frozenset({1, 2}), frozenset({11, 12})}


@pytest.mark.parametrize(("is_short", "wait_s"), [(True, 0.1), (False, 10.0)])
def test_a_window_of_another_group_waits_for_a_while_if_most_rows_are_taken(
    now_s: list[float], is_short: bool, wait_s: float
) -> None:
    """The others of the first group keep coming, so that its batch never ends."""
    executor, model = DeferredExecutor(), StepTranscriber(2)
    stream, other = shared_clients(executor, model, 2)
    submit(stream, 1)
    submit(stream, 2, n_turns=2)
    numbers = iter(range(3, 100))

    def next_turn(turn: Turn) -> None:
        if len(model.turns) < 40 and max(turn) < 100:
            submit(stream, next(numbers), n_turns=2)
            now_s[0] += wait_s / 2
        if len(model.turns) == 3:
            submit(other, 100, group="b")
            if not is_short:
                submit(other, 101, group="c")
                submit(other, 102, group="d")

    model.on_turn = next_turn
    run_all(executor)
    first = next(n for n, turn in enumerate(model.turns) if 100 in turn)
    assert first == pytest.approx(3 + 2, abs=1)


def test_a_batch_of_another_group_is_begun_at_once_if_most_rows_are_free(now_s: list[float]) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    (client,) = shared_clients(executor, model, 1)
    submit(client, 1, n_turns=4)
    submit(client, 11, 12, n_turns=2, group="b")
    run_all(executor)
    assert model.turns == [(1,), (11, 12), (11, 12), (1,), (1,), (1,)]


def test_a_batch_is_advanced_although_windows_of_other_groups_keep_coming(now_s: list[float]) -> None:
    """Each of them is finished in the turn in which its batch is begun."""
    executor, model = DeferredExecutor(), StepTranscriber(4)
    (client,) = shared_clients(executor, model, 1)
    submit(client, 1, n_turns=3)
    numbers = iter(range(2, 20))
    model.on_turn = lambda turn: submit(client, next(numbers), group="b") if len(model.turns) < 15 else None
    run_all(executor)
    assert [n for n, turn in enumerate(model.turns) if 1 in turn] == [0, 2, 4]


def test_windows_buffered_by_all_clients_are_bounded() -> None:
    n_buffered = []
    for n_clients in (1, 2, 4):
        clients = shared_clients(DeferredExecutor(), StepTranscriber(4, 2), n_clients)
        for client in clients:
            while not client._is_ahead:
                submit(client, 1)
        n_buffered.append(sum(client._n_queued for client in clients))
    assert n_buffered == [16, 24, 33]  # 2 lanes of 4 rows, twice; those that came first had more


def test_a_lane_stays_free_for_the_next_short_client(now_s: list[float]) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2, n_lanes=2)
    long, short, next_short = shared_clients(executor, model, 3, reserve_s=60.0)
    submit(short, 1)
    assert answered(short.completed(wait=True)) == [1]
    run_all(executor)
    submit(long, *range(10, 20))
    turns: list[Turn] = []

    def second_turn() -> None:
        run_all(executor)  # the other lane, which has nothing to do
        turns.extend(model.turns)
        submit(next_short, 2)
        run_all(executor)

    at_turn(model, {3: second_turn})
    executor.run_first(1)
    assert turns == [(1,), (10, 11), (12, 13)]
    assert model.turns[3] == (2,)
    assert answered(next_short.completed(wait=True)) == [2]
    assert sorted(all_answered(long)) == list(range(10, 20))


def test_after_a_while_without_short_clients_all_lanes_are_used(now_s: list[float]) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2, n_lanes=2)
    long, short = shared_clients(executor, model, 2, reserve_s=60.0)
    submit(short, 1)
    assert answered(short.completed(wait=True)) == [1]
    submit(long, *range(10, 20))
    turns: list[list[Turn]] = []

    def other_lane() -> None:
        run_all(executor)
        turns.append(list(model.turns))
        now_s[0] += 61.0
        submit(long, 20)
        run_all(executor)
        turns.append(list(model.turns))

    at_turn(model, {2: other_lane})
    executor.run_first(1)
    assert turns[0] == [(1,), (10, 11)]
    assert {number for turn in turns[1] for number in turn} == {1, *range(10, 21)}


def test_without_a_short_client_all_lanes_are_used(now_s: list[float]) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2, n_lanes=2)
    (long,) = shared_clients(executor, model, 1, reserve_s=60.0)
    submit(long, *range(10))
    assert len(executor.calls) == 2


def test_windows_of_a_cancelled_client_are_decoded_no_more() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2)
    gone, stays = shared_clients(executor, model, 2)
    submit(gone, 1, 2, 3, n_turns=2)
    submit(stays, 9)
    at_turn(model, {1: gone.cancel, 2: lambda: submit(stays, 10)})
    assert all_answered(stays) == [9, 10]  # beside the last turn of what has begun
    assert gone.completed(wait=True) == []
    assert model.turns == [(1, 9), (1,), (10,)]


def test_a_client_has_at_most_so_many_windows_in_a_lane() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    scheduler = BatchScheduler(executor, model)
    limited = scheduler.client(lambda: run_all(executor), max_windows=1)
    free = scheduler.client(lambda: run_all(executor))
    submit(limited, 1, 2, n_turns=2)
    submit(free, 11, 12, n_turns=2)
    assert all_answered(limited) == [1, 2]
    assert sorted(all_answered(free)) == [11, 12]
    assert model.turns == [(1, 11, 12), (1, 11, 12), (2,), (2,)]


def test_a_client_that_has_all_its_windows_in_a_lane_begins_no_batch_of_another_group(
    now_s: list[float],
) -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    limited = BatchScheduler(executor, model).client(lambda: run_all(executor), max_windows=1)
    submit(limited, 1, n_turns=3)
    submit(limited, 2, group="b")
    assert all_answered(limited) == [1, 2]
    assert model.turns == [(1,), (1,), (1,), (2,)]


def test_a_model_that_does_not_work_is_an_error_of_each_client_with_windows() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(2)
    model.failing = {0, 1}  # number 0 is silence
    one, other, waiting = shared_clients(executor, model, 3)
    submit(one, 1)
    submit(other, 2, n_turns=2)
    submit(waiting, 3)
    run_all(executor)
    for client in (one, other):
        with pytest.raises(ModelError):
            client.completed(wait=True)
    assert all_answered(waiting) == [3]  # it was in no batch with the first
    model.failing = ()
    submit(other, 4)
    assert all_answered(other) == [4]


def test_a_failing_window_of_one_client_does_not_affect_another() -> None:
    executor, model = DeferredExecutor(), StepTranscriber(4)
    model.failing = {2}
    one, other, later = shared_clients(executor, model, 3)
    submit(one, 1, 2)
    submit(other, 3, n_turns=3)
    at_turn(model, {2: lambda: submit(later, 4)})  # while windows are decoded one by one
    run_all(executor)
    found = {number_of(given): result for given, result in one.completed(wait=True)}
    assert isinstance(found[1], WindowResult)
    assert str(found[2]) == "poisoned"
    assert all_answered(other) == [3]
    assert all_answered(later) == [4]


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_each_of_many_threads_gets_its_own_results(tries: list[list[int]], batch_size: int) -> None:
    """Client i repeats its window j `tries[i][j]` times."""

    def drive(client: BatchClient, own: int) -> list[int]:
        seen: list[int] = []

        def consume(*, wait: bool) -> None:
            while pairs := client.completed(wait=wait):
                for number in answered(pairs):
                    index = number - 10 * own
                    seen.append(index)
                    if seen.count(index) <= tries[own][index]:
                        client.submit(request(number, group="ab"[index % 2]), priority=seen.count(index))

        for index in range(len(tries[own])):
            submit(client, 10 * own + index, n_turns=1 + index % 3, group="ab"[index % 2])
            consume(wait=False)
        consume(wait=True)
        return sorted(seen)

    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(len(tries)) as threads:
        scheduler = BatchScheduler(executor, StepTranscriber(batch_size, 2))
        found = list(threads.map(lambda own: drive(scheduler.client(), own), range(len(tries))))
    assert found == [[index for index, n in enumerate(own) for _ in range(n + 1)] for own in tries]


@pytest.mark.parametrize(("batch_size", "n_lanes"), [(1, 1), (2, 3), (4, 2)])
def test_no_wake_up_is_lost_among_many_clients(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, n_lanes: int
) -> None:
    """Clients do not look again by themselves here, so one that is not woken waits until the test fails."""
    monkeypatch.setattr(batching, "_POLL_S", 1000.0)
    model = StepTranscriber(batch_size, n_lanes)
    model.failing = range(0, 10_000, 37)
    model.error = MemoryError("no memory is left")
    model.on_turn = lambda turn: sleep(0)  # lets other threads run
    check_silence = Event()
    monkeypatch.setattr("transforms.recognition.lanes.check_transcriber", lambda _: check_silence.set())

    def drive(own: int) -> bool:
        rng, first = random.Random(own), 100 * own
        client = scheduler.client(max_windows=rng.choice([None, 1, 2]))
        for _ in range(5):
            expected, found = set[int](), set[int]()
            for number in range(first, first + rng.randrange(12)):
                submit(client, number, n_turns=rng.randrange(1, 4), group=rng.choice(["", "a", "b"]))
                expected.add(number)
                found |= {number_of(given) for given, _ in client.completed(wait=False)}
            if rng.random() < 0.3:
                client.cancel()
                continue
            while pairs := client.completed(wait=True):
                found |= {number_of(given) for given, _ in pairs}
            assert found == expected
        return True

    with ThreadPoolExecutor(n_lanes) as executor, ThreadPoolExecutor(16) as threads:
        scheduler = BatchScheduler(executor, model)
        runs = [threads.submit(drive, own) for own in range(1, 33)]
        assert all(run.result(TIMEOUT_S) for run in runs)
    assert check_silence.is_set()
    assert scheduler._lanes == []
    assert scheduler._turns == []


def test_a_client_that_waits_is_woken_by_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_POLL_S", 1000.0)
    model, proceed = StepTranscriber(2), Event()
    model.on_turn = lambda turn: proceed.wait(TIMEOUT_S)
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as threads:
        client = BatchScheduler(executor, model).client()
        submit(client, 1)
        reads = threads.submit(client.completed, wait=True)
        while not (model.turns and client._changed._waiters):  # type: ignore[attr-defined]
            sleep(0.001)
        proceed.set()
        assert answered(reads.result(TIMEOUT_S)) == [1]


def test_a_client_that_is_ahead_reads_on_as_soon_as_its_windows_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "_POLL_S", 1000.0)
    model, proceed, waits = StepTranscriber(2), Event(), Event()

    def hold(turn: Turn) -> None:
        if 1 in turn:
            assert proceed.wait(TIMEOUT_S)
        elif 5 in turn:
            assert read_on.wait(TIMEOUT_S)

    model.on_turn, read_on = hold, Event()
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as threads:
        scheduler = BatchScheduler(executor, model)
        first, ahead = scheduler.client(), scheduler.client(check=waits.set)
        submit(first, 1, 2)
        submit(ahead, 5, 6, 7, 8)
        assert ahead._is_ahead
        reads = threads.submit(ahead.completed, wait=False)
        assert waits.wait(TIMEOUT_S)
        proceed.set()
        assert reads.result(TIMEOUT_S) == []  # while its windows are being decoded
        read_on.set()
        assert sorted(all_answered(ahead)) == [5, 6, 7, 8]
        assert sorted(all_answered(first)) == [1, 2]
