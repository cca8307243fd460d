from __future__ import annotations

from dataclasses import replace
from time import monotonic

import pytest

from tests.support.servers import QUICK
from tests.support.stops import OwnStopError, StopSoon
from transforms.core.cancellation import STOP, StopRequestedError
from transforms.core.errors import AudioError
from transforms.fetch import retries
from transforms.fetch.policy import Limits
from transforms.fetch.retries import back_off_s, with_retries
from transforms.fetch.spool import NoRoomError, Spool


def broken(retryable: bool = True, retry_after_s: float | None = None) -> AudioError:
    error = AudioError("fetch", "broken", "broken", retryable)
    error.retry_after_s = retry_after_s
    return error


class Attempts:
    """Raises scripted errors, then succeeds; writes a block each time."""

    def __init__(self, spool: Spool, *errors: AudioError, block: bytes = b"") -> None:
        self.spool, self.errors, self.block, self.n_made = spool, list(errors), block, 0

    def __call__(self) -> None:
        self.n_made += 1
        self.spool.write(self.block)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(retries, "_sleep", lambda seconds, _: waited.append(seconds))
    return waited


def test_waits_are_doubled_and_random() -> None:
    limits = Limits(back_off_s=1, max_wait_s=10)
    for n_failed, max_s in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)):
        waits_s = [back_off_s(n_failed, limits) for _ in range(200)]
        assert max_s / 2 <= min(waits_s) < max(waits_s) <= max_s


@pytest.mark.parametrize("n_failures", [0, 1, 7])
def test_retryable_errors_are_retried(waits: list[float], n_failures: int) -> None:
    with Spool(QUICK) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(n_failures)))
        with_retries(attempts, spool, QUICK, monotonic() + 10)
    assert attempts.n_made == n_failures + 1 == len(waits) + 1


def test_attempts_are_limited(waits: list[float]) -> None:
    with Spool(QUICK) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, *(broken() for _ in range(9))), spool, QUICK, monotonic() + 10)
    assert (caught.value.attempts, len(waits)) == (8, 7)


def test_other_errors_are_not_retried(waits: list[float]) -> None:
    with Spool(QUICK) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, broken(retryable=False)), spool, QUICK, monotonic() + 10)
    assert (caught.value.attempts, waits) == (1, [])


def test_progress_resets_the_count_of_attempts(waits: list[float]) -> None:
    limits = replace(QUICK, progress_bytes=5)
    with Spool(limits) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(30)), block=b"bytes")
        with_retries(attempts, spool, limits, monotonic() + 10)
    assert attempts.n_made == 31


def test_small_growth_is_not_progress(waits: list[float]) -> None:
    limits = replace(QUICK, progress_bytes=41)
    with Spool(limits) as spool:
        attempts = Attempts(spool, *(broken() for _ in range(30)), block=b"bytes")
        with pytest.raises(AudioError) as caught:
            with_retries(attempts, spool, limits, monotonic() + 10)
    assert caught.value.attempts == 8


def test_retry_after_is_respected(waits: list[float]) -> None:
    with Spool(QUICK) as spool:
        attempts = Attempts(spool, broken(retry_after_s=2.5), broken(retry_after_s=2.5), broken())
        with_retries(attempts, spool, QUICK, monotonic() + 10)
    assert waits[:2] == [2.5, 2.5]  # together longer than `give_up_s`
    assert waits[2] < 0.1


@pytest.mark.parametrize(("total_s", "give_up_s"), [(0.5, 100.0), (100.0, 0.5)])
def test_no_attempt_begins_after_the_deadline(waits: list[float], total_s: float, give_up_s: float) -> None:
    limits = replace(QUICK, give_up_s=give_up_s, back_off_s=2.0, max_wait_s=2.0)
    with Spool(limits) as spool, pytest.raises(AudioError) as caught:
        with_retries(Attempts(spool, broken()), spool, limits, monotonic() + total_s)
    assert (caught.value.attempts, waits) == (1, [])


def test_copy_is_discarded_while_waiting_for_disk_space(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def wait(n_bytes: int, *_: object) -> bool:
        sizes.append(spool.n_bytes)
        return n_bytes < 100

    monkeypatch.setattr(retries.DISK, "wait", wait)
    with Spool(QUICK) as spool:
        full = [NoRoomError("full", 99) for _ in range(20)]
        attempts = Attempts(spool, *full, block=b"bytes")
        with_retries(attempts, spool, QUICK, monotonic() + 10)
        assert (attempts.n_made, sizes, waits) == (21, [0] * 20, [])
        with pytest.raises(NoRoomError):
            with_retries(Attempts(spool, NoRoomError("full", 100)), spool, QUICK, monotonic() + 10)


def test_stop_request_interrupts_a_wait() -> None:
    STOP.set()
    with Spool(QUICK) as spool, pytest.raises(StopRequestedError):
        with_retries(Attempts(spool, broken()), spool, QUICK, monotonic() + 10)


def test_a_wait_calls_the_check_of_the_download() -> None:
    patient = replace(QUICK, back_off_s=9, max_wait_s=9, give_up_s=60)
    with Spool(patient) as spool, StopSoon() as check, pytest.raises(OwnStopError):
        with_retries(Attempts(spool, broken()), spool, patient, monotonic() + 60, check=check)
