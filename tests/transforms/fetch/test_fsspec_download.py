from __future__ import annotations

import io
from dataclasses import replace
from time import monotonic, sleep

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support.downloads import error_of, read
from tests.support.servers import LOCAL, QUICK, send, serving
from transforms.fetch.policy import FetchPolicy


def test_urls_of_fsspec_file_systems() -> None:
    fsspec.filesystem("memory").pipe("/fetch/a.wav", b"bytes" * 1000)
    assert read("memory://fetch/a.wav") == b"bytes" * 1000
    assert error_of("memory://fetch/b.wav").kind == "not_found"
    assert error_of("nosuchscheme://fetch/b.wav").kind == "unsupported"


class Slow(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        sleep(0.05)
        return super().read(1)


class FlakyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Raises scripted errors when files are opened, and declares files longer than they are."""

    protocol = "flaky"
    failures: list[Exception] = []  # noqa: RUF012
    declared_extra = 0
    is_slow = False

    def _open(self, path: str, *args: object, **kwargs: object) -> io.BytesIO:
        if self.failures:
            raise self.failures.pop()
        file = (Slow if self.is_slow else io.BytesIO)(b"bytes" * (20 if self.is_slow else 1))
        file.size = len(file.getvalue()) + self.declared_extra  # type: ignore[attr-defined]
        return file


fsspec.register_implementation("flaky", FlakyFileSystem)


def test_broken_file_system_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "failures", [RuntimeError("503"), OSError("reset"), TimeoutError()])
    assert read("flaky://a.wav") == b"bytes"
    monkeypatch.setattr(FlakyFileSystem, "failures", [OSError("reset")] * 8)
    error = error_of("flaky://a.wav")
    assert (error.kind, error.retryable, error.message) == ("io", True, "OSError: reset")
    assert error.attempts == 8


@pytest.mark.parametrize(
    ("failure", "kind"), [(PermissionError("no"), "forbidden"), (IsADirectoryError("a"), "not_a_file")]
)
def test_permanent_errors_are_not_retried(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, kind: str
) -> None:
    monkeypatch.setattr(FlakyFileSystem, "failures", [failure])
    assert error_of("flaky://a.wav").kind == kind


def test_object_shorter_than_declared_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "declared_extra", 3)
    error = error_of("flaky://a.wav")
    assert (error.kind, error.message) == ("short_body", "5 of 8 bytes came")


def test_size_above_the_limit_is_refused_before_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "declared_extra", 1 << 40)
    monkeypatch.setattr(Slow, "read", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(FlakyFileSystem, "is_slow", True)
    error = error_of("flaky://a.wav")
    assert (error.kind, error.retryable) == ("too_large", False)


def test_slow_object_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlakyFileSystem, "is_slow", True)
    started = monotonic()
    error = error_of("flaky://a.wav", replace(LOCAL, fetch_timeout_s=0.3))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert monotonic() - started < 4  # reading it takes five


def test_chained_url_of_a_private_host_is_refused() -> None:
    with serving(lambda handler: send(handler, 200, b"bytes")) as server:
        error = error_of(f"simplecache::{server.url}/a.wav", FetchPolicy(limits=QUICK))
        assert (error.kind, server.accepted) == ("forbidden_host", 0)
