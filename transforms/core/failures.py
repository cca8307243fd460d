"""What goes wrong with one recording is a `Failure`, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from transforms.core.errors import AudioError, to_failure
from transforms.core.types import AudioSource, Failure

T = TypeVar("T")


def caught(items: Iterator[T], source: AudioSource, stage: str) -> Iterator[T | Failure]:
    """Passes the items on; an exception on the way ends them with a `Failure` of the source."""
    try:
        yield from items
    except AudioError as error:
        yield to_failure(source, error)
    except Exception as error:  # a library's surprise over one file must not cost the other ten thousand
        yield unexpected(source, stage, error)


def unexpected(source: AudioSource, stage: str, error: Exception) -> Failure:
    """The failure for an exception that nobody foresaw, with its type, so that it can be reported."""
    reason = f"{type(error).__name__}: {error}; if the recording plays elsewhere, please report this"
    return to_failure(source, AudioError(stage, "unexpected", reason, retryable=False))
