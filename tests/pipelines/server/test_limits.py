from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from pipelines.server.errors import ApiError
from pipelines.server.limits import Admission, RateLimit, client_of
from tests.support.asgi import http_scope


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def accepted(limit: RateLimit, client: str, n: int) -> int:
    count = 0
    for _ in range(n):
        try:
            limit.take(client)
        except ApiError:
            continue
        count += 1
    return count


def test_burst_and_rate_of_a_client(clock: Clock) -> None:
    limit = RateLimit(per_minute=30, burst=5, clock=clock)
    assert accepted(limit, "a", 20) == 5
    clock.now += 4
    assert accepted(limit, "a", 20) == 2
    clock.now += 3600
    assert accepted(limit, "a", 20) == 5


def test_refusal_has_the_time_until_the_next_token(clock: Clock) -> None:
    limit = RateLimit(per_minute=6, burst=1, clock=clock)
    limit.take("a")
    clock.now += 2.5
    with pytest.raises(ApiError) as caught:
        limit.take("a")
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.headers == {"Retry-After": "8"}
    clock.now += 7.5
    limit.take("a")


def test_clients_do_not_share_a_bucket(clock: Clock) -> None:
    limit = RateLimit(per_minute=1, burst=1, clock=clock)
    assert [accepted(limit, client, 2) for client in "abc"] == [1, 1, 1]


def test_number_of_buckets_is_limited(clock: Clock) -> None:
    limit = RateLimit(per_minute=1, burst=1, max_clients=3, clock=clock)
    limit.take("busy")
    for index in range(100):
        limit.take(f"client {index}")
        assert accepted(limit, "busy", 1) == 0  # it came last but one, and is remembered
    assert len(limit._buckets) == 3


def test_threads_take_no_more_than_there_is(clock: Clock) -> None:
    limit = RateLimit(per_minute=1, burst=50, clock=clock)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(accepted(limit, "a", 20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 50


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("192.0.2.1", 5000), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 5000), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 5000), "192.0.2.1"),
        (("testclient", 5000), "testclient"),
        (("", 0), ""),
        (None, "unknown"),
    ],
)
def test_client_is_an_address_without_a_key(client: tuple[str, int] | None, name: str) -> None:
    scope = http_scope(client=client)
    assert client_of(scope) == name
    assert client_of(scope | {"state": {"key": 0}}) == "key 0"


def refusal(admission: Admission) -> ApiError:
    with pytest.raises(ApiError) as caught, admission.admit():
        pass
    return caught.value


def test_requests_beyond_the_limit_are_refused_until_one_leaves(clock: Clock) -> None:
    admission = Admission(2, clock=clock)
    with admission.admit():
        with admission.admit():
            error = refusal(admission)
            assert (error.status, error.type, error.code) == (429, "rate_limit_error", "server_overloaded")
            assert "has 2 requests" in error.message
        with admission.admit():
            assert admission.n_requests == 2
    assert admission.n_requests == 0


def test_request_that_fails_leaves(clock: Clock) -> None:
    admission = Admission(1, clock=clock)
    with pytest.raises(KeyError), admission.admit():
        raise KeyError
    with admission.admit():
        pass


def waits(admission: Admission, n: int) -> list[int]:
    return [int(refusal(admission).headers["Retry-After"]) for _ in range(n)]


def test_refused_requests_are_spread_over_the_time_of_the_queue(clock: Clock) -> None:
    admission = Admission(4, clock=clock)
    with admission.admit():
        clock.now += 8  # the mean duration: a place in 2 s
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(admission.admit())
        assert waits(admission, 4) == [2, 4, 6, 8]
        clock.now += 5
        assert waits(admission, 1) == [5]
        assert max(waits(admission, 100)) == 120


def test_wait_is_at_least_a_second_and_follows_slow_requests(clock: Clock) -> None:
    admission = Admission(2, clock=clock)
    with admission.admit():
        clock.now += 0.01
    with admission.admit(), admission.admit():
        assert waits(admission, 1) == [1]
        clock.now += 60  # longer than the mean
        assert waits(admission, 1) == [30]


def test_mean_duration_follows_the_requests(clock: Clock) -> None:
    admission = Admission(1, clock=clock)
    for duration_s in (100, *[2] * 40):
        with admission.admit():
            clock.now += duration_s
    with admission.admit():
        assert waits(admission, 1) == [3]  # 2.01 s


def test_server_that_stops_refuses_new_requests_alone(clock: Clock) -> None:
    admission = Admission(2, clock=clock)
    with admission.admit():
        admission.drain()
        error = refusal(admission)
        assert (error.status, error.code) == (503, "shutting_down")
        assert int(error.headers["Retry-After"]) >= 1
        assert admission.n_requests == 1
    assert admission.n_requests == 0
