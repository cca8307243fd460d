from __future__ import annotations

from dataclasses import replace
from time import monotonic

import pytest

from tests.support.servers import QUICK
from transforms.core.cancellation import StopRequestedError
from transforms.core.errors import AudioError
from transforms.core.progress import PROGRESS
from transforms.fetch import retries
from transforms.fetch.policy import Limits
from transforms.fetch.retries import back_off_s, with_retries
from transforms.fetch.spool import NoRoomError, Spool


def broken(retryable: bool = True, retry_after_s: float | None = None) -> AudioError:
    error = AudioError("fetch", "broken", "broken", retryable)
    error.retry_after_s = retry_after_s
    return error


class Attempts:
    """Fails as told, then succeeds; writes a block each time."""

    def __init__(self, spool: Spool, *errors: AudioError, block: bytes = b"") -> None:
        self.spool, self.errors, self.block, self.made = spool, list(errors), block, 0

    def __call__(self) -> None:
        self.made += 1
        self.spool.write(self.block)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(retries, "_nap", waited.append)
    return waited


def test_waits_double_and_differ() -> None:
    limits = Limits(back_off_s=1, longest_wait_s=10)
    for n_failed, longest_s in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)):
        waits_s = [back_off_s(n_failed, limits) for _ in range(200)]
        assert longest_s / 2 <= min(waits_s) < max(waits_s) <= longest_s


@pytest.mark.parametrize("n_failures", [0, 1, 7])
def test_it_is_tried_again(waits: list[float], n_failures: int) -> None:
    with Spool(QUICK) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(n_failures)))
        with_retries(attempts, spool, QUICK, monotonic() + 10)
    assert attempts.made == n_failures + 1 == len(waits) + 1


def test_it_is_given_up(waits: list[float]) -> None:
    with Spool(QUICK) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, *(broken() for _ in range(9))), spool, QUICK, monotonic() + 10)
    assert (caught.value.attempts, len(waits)) == (8, 7)


def test_what_cannot_succeed_is_not_tried_again(waits: list[float]) -> None:
    with Spool(QUICK) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, broken(retryable=False)), spool, QUICK, monotonic() + 10)
    assert (caught.value.attempts, waits) == (1, [])


def test_progress_begins_the_count_anew(waits: list[float]) -> None:
    limits = replace(QUICK, progress_bytes=5)
    with Spool(limits) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(30)), block=b"bytes")
        with_retries(attempts, spool, limits, monotonic() + 10)
    assert attempts.made == 31


def test_a_little_is_no_progress(waits: list[float]) -> None:
    limits = replace(QUICK, progress_bytes=41)
    with Spool(limits) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(30)), block=b"bytes")
        with pytest.raises(AudioError) as caught:
            with_retries(attempts, spool, limits, monotonic() + 10)
    assert caught.value.attempts == 8


def test_a_server_is_given_the_time_it_asks_for(waits: list[float]) -> None:
    with Spool(QUICK) as spool:
        attempts = Attempts(spool, broken(retry_after_s=2.5), broken(retry_after_s=2.5), broken())
        with_retries(attempts, spool, QUICK, monotonic() + 10)
    assert waits[:2] == [2.5, 2.5]  # together longer than `give_up_s`
    assert waits[2] < 0.1


@pytest.mark.parametrize(("total_s", "give_up_s"), [(0.5, 100.0), (100.0, 0.5)])
def test_no_attempt_begins_when_time_is_over(waits: list[float], total_s: float, give_up_s: float) -> None:
    limits = replace(QUICK, give_up_s=give_up_s, back_off_s=2.0, longest_wait_s=2.0)
    with Spool(limits) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, broken()), spool, limits, monotonic() + total_s)
    assert (caught.value.attempts, waits) == (1, [])


def test_room_is_waited_for_with_empty_hands(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def wait(n_bytes: int, *_: object) -> bool:
        held.append(spool.n_bytes)
        return n_bytes < 100

    monkeypatch.setattr(retries.DISK, "wait", wait)
    with Spool(QUICK) as spool:
        full = [NoRoomError("full", 99) for _ in range(20)]
        attempts = Attempts(spool, *full, block=b"bytes")
        with_retries(attempts, spool, QUICK, monotonic() + 10)
        assert (attempts.made, held, waits) == (21, [0] * 20, [])
        with pytest.raises(NoRoomError):
            with_retries(Attempts(spool, NoRoomError("full", 100)), spool, QUICK, monotonic() + 10)


def test_a_run_that_is_to_stop_waits_no_longer() -> None:
    PROGRESS.request_stop()
    with Spool(QUICK) as spool, pytest.raises(StopRequestedError):
        with_retries(Attempts(spool, broken()), spool, QUICK, monotonic() + 10)
