from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.executors import HeldExecutor, InlineExecutor
from transforms.recognition.batching import Lanes

TIMEOUT_S = 30.0  # what is waited for comes at once, or never


def no_check() -> None:
    pass


def lanes_of(
    executor: Executor,
    n_lanes: int,
    batch_size: int,
    call: Callable[[Sequence[int]], object] = list,
    check: Callable[[], None] = no_check,
) -> Lanes[int, object]:
    return Lanes(executor, n_lanes, batch_size, call, check)


def add(lanes: Lanes[int, object], n: int) -> None:
    for item in range(n):
        lanes.add(item)


def sizes(lanes: Lanes[int, object], *, end: bool) -> list[int]:
    return [len(batch) for batch, _ in lanes.results(end=end)]


@given(
    n_lanes=st.integers(1, 4),
    batch_size=st.integers(1, 9),
    tries=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=60),
    inline=st.booleans(),
)
def test_every_item_comes_out_as_often_as_it_was_added(
    n_lanes: int, batch_size: int, tries: list[tuple[int, bool]], inline: bool
) -> None:
    """Item i is to be looked at `tries[i][0]` times, by `add` or `add_again`."""
    seen: list[int] = []

    def take(results: Iterator[tuple[Sequence[int], object]]) -> None:
        for batch, result in results:
            assert result == [-item for item in batch]
            assert 1 <= len(batch) <= batch_size
            for item in batch:
                seen.append(item)
                n_tries, urgent = tries[item]
                if seen.count(item) < n_tries:
                    lanes.add_again(item, seen.count(item)) if urgent else lanes.add(item)

    with InlineExecutor() if inline else ThreadPoolExecutor(n_lanes) as executor:
        lanes = lanes_of(executor, n_lanes, batch_size, lambda batch: [-item for item in batch])
        for item in range(len(tries)):
            lanes.add(item)
            take(lanes.results(end=False))
        take(lanes.results(end=True))
    assert sorted(seen) == [item for item, (n_tries, _) in enumerate(tries) for _ in range(n_tries)]
    assert list(lanes.results(end=True)) == []


@pytest.mark.parametrize(
    ("n_items", "n_lanes", "batch_size", "expected"),
    [
        (9, 2, 8, [5, 4]),
        (6, 1, 8, [6]),
        (5, 1, 8, [5]),
        (3, 4, 8, [1, 1, 1]),
        (10, 4, 8, [3, 3, 2, 2]),
        (16, 2, 8, [8, 8]),
        (20, 2, 8, [8, 8, 2, 2]),
        (24, 2, 8, [8, 8, 4, 4]),
        (7, 1, 8, [7]),
    ],
)
def test_what_is_left_at_the_end_is_divided_among_the_lanes(
    n_items: int, n_lanes: int, batch_size: int, expected: list[int]
) -> None:
    with ThreadPoolExecutor(n_lanes) as executor:
        lanes = lanes_of(executor, n_lanes, batch_size)
        add(lanes, n_items)
        assert sorted(sizes(lanes, end=True), reverse=True) == expected


def test_at_the_end_a_lane_that_is_still_busy_gets_its_share_later() -> None:
    executor = HeldExecutor()
    lanes = lanes_of(executor, 2, 4)
    add(lanes, 8)
    assert sizes(lanes, end=False) == []
    executor.make(1)
    for item in (11, 12, 13):
        lanes.add(item)
    results = lanes.results(end=True)
    assert len(next(results)[0]) == 4
    executor.make(1)
    assert len(next(results)[0]) == 4
    executor.make(1)
    assert next(results)[0] == [11, 12]  # its half, though the other lane was not free yet
    executor.make(1)
    assert next(results)[0] == [13]
    assert list(results) == []


def test_the_first_batches_wait_until_there_is_one_for_each_lane() -> None:
    lanes = lanes_of(InlineExecutor(), 3, 2)
    for item in range(5):
        lanes.add(item)
        assert sizes(lanes, end=False) == []
    lanes.add(5)
    assert sizes(lanes, end=False) == [2, 2, 2]
    lanes.add(6)
    assert sizes(lanes, end=False) == []
    lanes.add(7)
    assert sizes(lanes, end=False) == [2]  # from then on, one at a time


def test_reading_goes_on_while_lanes_work_until_there_is_a_batch_ready_for_each() -> None:
    executor, n_checks = HeldExecutor(), 0

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        assert n_checks <= 9, "it waits"  # once each time, and again only while it waits

    lanes = lanes_of(executor, 2, 2, check=check)
    for item in range(9):  # two batches run, one is prepared, and all but two batches are ready
        lanes.add(item)
        assert sizes(lanes, end=False) == []
    assert len(executor.calls) == 3


def test_it_waits_when_lanes_are_busy_and_batches_are_ready_and_no_longer_than_for_one() -> None:
    started, go_on = Event(), Event()

    def call(batch: Sequence[int]) -> list[int]:
        started.set()
        assert go_on.wait(TIMEOUT_S)
        return list(batch)

    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:  # it waits in vain, and asks in between; now let the calls end
            go_on.set()

    with ThreadPoolExecutor(1) as executor:
        lanes = lanes_of(executor, 1, 2, call, check)
        add(lanes, 6)
        given = [batch for batch, _ in lanes.results(end=False)]
        assert started.is_set()
        assert checks >= 3
        assert given[0] == [0, 1]
        assert given + [batch for batch, _ in lanes.results(end=True)] == [[0, 1], [2, 3], [4, 5]]


def test_items_that_are_added_again_wait_for_a_full_batch_and_the_most_urgent_go_first() -> None:
    lanes = lanes_of(InlineExecutor(), 1, 3)
    for item, urgency in ((1, 1), (2, 3), (3, 1)):
        lanes.add_again(item, urgency)
        if item < 3:
            assert sizes(lanes, end=False) == []
    lanes.add_again(4, 2)
    assert [batch for batch, _ in lanes.results(end=False)] == [[2, 4, 1]]
    assert [batch for batch, _ in lanes.results(end=True)] == [[3]]


def test_full_batches_of_items_that_were_added_again_go_before_new_ones() -> None:
    lanes = lanes_of(InlineExecutor(), 1, 2)
    add(lanes, 2)
    for item in (7, 8, 9):
        lanes.add_again(item, 1)
    assert [batch for batch, _ in lanes.results(end=False)] == [[7, 8], [0, 1]]
    lanes.add(2)
    assert [batch for batch, _ in lanes.results(end=True)] == [[2], [9]]


def test_at_the_end_what_was_added_again_is_divided_and_waits_for_no_other_lane() -> None:
    executor = HeldExecutor()
    n_made = iter([0, 1, 0, 2, 0])  # calls that end at each turn
    lanes = lanes_of(executor, 2, 8, check=lambda: executor.make(next(n_made)))
    for item in range(5):
        lanes.add_again(item, urgency=item)
    results = lanes.results(end=True)
    assert next(results)[0] == [4, 3, 2]
    lanes.add_again(9, urgency=9)  # one lane is free, while the other still works
    assert [batch for batch, _ in results] == [[1, 0], [9]]


class CallError(Exception):
    pass


def test_an_exception_of_a_call_comes_out_and_what_is_queued_is_not_called() -> None:
    fail = Event()
    called: list[Sequence[int]] = []

    def call(batch: Sequence[int]) -> None:
        called.append(list(batch))
        assert fail.wait(TIMEOUT_S)
        raise CallError("no")

    with ThreadPoolExecutor(1) as executor:
        lanes = lanes_of(executor, 1, 1, call)
        lanes.add(0)
        assert sizes(lanes, end=False) == []
        occupied = Event()
        executor.submit(occupied.wait, TIMEOUT_S)  # another owner's call goes first
        lanes.add(1)
        assert sizes(lanes, end=False) == []
        fail.set()
        with pytest.raises(CallError):
            sizes(lanes, end=True)
        occupied.set()
    assert called == [[0]]
    assert sizes(lanes, end=True) == []


class StopError(Exception):
    pass


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_an_exception_of_the_check_comes_out_of_waiting_and_what_is_queued_is_not_called(
    error: type[BaseException],
) -> None:
    executor, asked = HeldExecutor(), 0
    called: list[Sequence[int]] = []

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise error

    lanes = lanes_of(executor, 1, 1, called.append, check)
    add(lanes, 3)
    with pytest.raises(error):
        sizes(lanes, end=False)
    executor.make(2)
    assert called == []
    assert sizes(lanes, end=True) == []


def test_it_is_checked_before_anything_is_started() -> None:
    def check() -> None:
        raise StopError

    executor = HeldExecutor()
    lanes = lanes_of(executor, 1, 1, check=check)
    lanes.add(0)
    with pytest.raises(StopError):
        sizes(lanes, end=False)
    assert executor.calls == []


def test_results_that_are_closed_early_give_up_the_rest() -> None:
    executor = HeldExecutor()
    called: list[Sequence[int]] = []
    lanes = lanes_of(executor, 1, 1, called.append)
    add(lanes, 1)
    assert sizes(lanes, end=False) == []
    executor.make(1)
    add(lanes, 2)
    lanes.add_again(9, urgency=1)
    results = lanes.results(end=True)
    next(results)
    results.close()  # type: ignore[attr-defined]
    executor.make(9)
    assert called == [[0]]
    assert sizes(lanes, end=True) == []


def test_after_clear_it_begins_anew_and_never_hears_of_calls_that_ran() -> None:
    started, go_on = Event(), Event()

    def call(batch: Sequence[int]) -> list[int]:
        started.set()
        assert go_on.wait(TIMEOUT_S)
        return list(batch)

    with ThreadPoolExecutor(2) as executor:
        lanes = lanes_of(executor, 2, 1, call)
        add(lanes, 3)
        assert sizes(lanes, end=False) == []
        assert started.wait(TIMEOUT_S)
        lanes.add_again(9, urgency=1)
        lanes.clear()
        go_on.set()
        assert list(lanes.results(end=True)) == []
        lanes.add(5)
        assert sizes(lanes, end=False) == []  # the first batches wait for one another again
        assert list(lanes.results(end=True)) == [([5], [5])]


def test_lanes_of_several_owners_share_an_executor() -> None:
    with ThreadPoolExecutor(2) as executor:
        owners = [lanes_of(executor, 2, 3) for _ in range(4)]
        begun = []
        for n, lanes in enumerate(owners):
            add(lanes, 5 + n)
            begun.append(sum(sizes(lanes, end=False)))
        owners[0].clear()
        assert sizes(owners[0], end=True) == []
        ended = [sum(sizes(lanes, end=True)) for lanes in owners]
        assert [begun[n] + ended[n] for n in (1, 2, 3)] == [6, 7, 8]
