from __future__ import annotations

from collections.abc import Iterator

import pytest

from transforms.core.cancellation import StopRequestedError
from transforms.core.errors import AudioError
from transforms.core.failures import errors_as_failures
from transforms.core.types import AudioSource, Failure


def broken(error: Exception) -> Iterator[int]:
    yield 1
    raise error


def test_known_and_unknown_exceptions_become_failures_without_credentials() -> None:
    source = AudioSource("id", "https://me:pw@host/a.mp3")
    known = list(
        errors_as_failures(broken(AudioError("fetch", "timeout", "60 s", retryable=True)), source, "decode")
    )
    assert known == [1, Failure("id", "https://host/a.mp3", "fetch", "timeout", "60 s", retryable=True)]
    _, unknown = errors_as_failures(broken(ZeroDivisionError("by zero")), source, "decode")
    assert isinstance(unknown, Failure)
    assert (unknown.stage, unknown.kind, unknown.uri) == ("decode", "unexpected", "https://host/a.mp3")
    assert "ZeroDivisionError: by zero" in unknown.message


def test_interrupt_is_not_a_failure() -> None:
    def interrupted() -> Iterator[int]:
        raise KeyboardInterrupt
        yield 1

    with pytest.raises(KeyboardInterrupt):
        list(errors_as_failures(interrupted(), AudioSource("id", "u"), "decode"))


@pytest.mark.parametrize("kind", [StopRequestedError, type("CancelledError", (StopRequestedError,), {})])
def test_a_cancellation_is_not_a_failure(kind: type[StopRequestedError]) -> None:
    items = errors_as_failures(broken(kind("stop")), AudioSource("id", "u"), "decode")
    assert next(items) == 1
    with pytest.raises(kind, match="stop"):
        next(items)
