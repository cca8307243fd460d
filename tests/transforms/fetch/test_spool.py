from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from tests.support.servers import QUICK
from tests.support.stops import OwnStopError, StopSoon
from transforms.core.errors import AudioError
from transforms.fetch import spool
from transforms.fetch.spool import DISK, NoRoomError, Spool

SMALL = replace(QUICK, bytes_in_memory=10, bytes_each=1000, bytes_total=100)


@pytest.fixture(autouse=True)
def _all_space_is_released(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(spool, "STEP_BYTES", 20)
    yield
    assert (DISK._reserved, DISK._unwritten) == (0, 0)


def test_small_copy_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with Spool(replace(SMALL, bytes_total=0)) as copy:
        copy.expect(10)
        copy.write(b"12345")
        copy.write(b"67890")
        copy.file.seek(0)
        assert copy.file.read() == b"1234567890"
        with pytest.raises(NoRoomError):
            copy.write(b"1")


def test_large_copy_is_on_disk_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Spool(SMALL) as copy:
        copy.write(b"x" * 50)
        copy.file.flush()
        assert os.fstat(copy.file.fileno()).st_size == 50
        assert DISK._reserved == 70
    assert list(tmp_path.iterdir()) == []
    assert copy.file.closed


def test_size_limit_is_checked_before_and_during_the_copy() -> None:
    with Spool(replace(SMALL, bytes_total=10**6)) as copy:
        with pytest.raises(AudioError, match="too_large: 1001 bytes; at most 1000"):
            copy.expect(1001)
        for _ in range(100):
            copy.write(b"0123456789")
        with pytest.raises(AudioError, match="too_large") as caught:
            copy.write(b"1")
        assert not caught.value.retryable


def test_total_size_of_copies_is_limited() -> None:
    with Spool(SMALL) as one, Spool(SMALL) as other:
        one.expect(60)
        with pytest.raises(NoRoomError, match=r"no disk space for a copy of 41 bytes.*60 of 100 are taken"):
            other.expect(41)
        other.expect(40)
        one.restart()
        other.expect(100)


def test_free_disk_space_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=80))
    limits = replace(SMALL, bytes_left_free=30)
    with Spool(limits) as one, Spool(limits) as other:
        with pytest.raises(NoRoomError, match="80 are free, of which 30 must stay free") as caught:
            one.expect(51)
        assert caught.value.retryable
        one.expect(30)
        with pytest.raises(NoRoomError):  # the reserved 30 are not on the disk yet
            other.expect(21)
        other.expect(20)


def test_wait_ends_when_space_is_released() -> None:
    with Spool(SMALL) as one:
        one.expect(60)
        assert not DISK.wait(50, SMALL, monotonic() + 0.05)
        threading.Timer(0.05, one.restart).start()
        assert DISK.wait(50, SMALL, monotonic() + 10)
    started = monotonic()
    assert not DISK.wait(101, SMALL, started + 10)  # no other copy could release space
    assert monotonic() - started < 5


def test_copy_can_be_restarted() -> None:
    with Spool(SMALL) as copy:
        copy.write(b"x" * 30)
        copy.restart()
        copy.write(b"new")
        assert (copy.n_bytes, copy.peak_bytes) == (3, 30)
        copy.file.seek(0)
        assert copy.file.read() == b"new"


def test_failed_write_is_an_error_of_disk_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    with Spool(SMALL) as copy, pytest.raises(AudioError, match=r"no_room: .*TMPDIR"):
        copy.write(b"x")


def test_a_wait_for_space_calls_the_check_of_the_download() -> None:
    patient = replace(SMALL, bytes_total=DISK._reserved + 100)
    DISK.reserve(100, patient)
    with StopSoon() as check, pytest.raises(OwnStopError):
        DISK.wait(50, patient, monotonic() + 60, check)
    DISK.release(100, 100)
