"""Turns the errors of one recording into a `Failure`, so that the run continues with the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from transforms.core.cancellation import StopRequestedError
from transforms.core.errors import AudioError, to_failure
from transforms.core.types import AudioSource, Failure

T = TypeVar("T")


def errors_as_failures(items: Iterator[T], source: AudioSource, stage: str) -> Iterator[T | Failure]:
    """Yields the items; after an exception, yields a `Failure` of the source and ends.

    Raises:
        StopRequestedError: the work was cancelled, which is no failure of the source.
    """
    try:
        yield from items
    except AudioError as error:
        yield to_failure(source, error)
    except StopRequestedError:
        raise
    except Exception as error:  # a bug that one file triggers must not end the run of ten thousand others
        yield unexpected_failure(source, stage, error)


def unexpected_failure(source: AudioSource, stage: str, error: Exception) -> Failure:
    """Returns the failure for an unexpected exception; the message contains its type, for bug reports."""
    reason = f"{type(error).__name__}: {error}; if the recording plays elsewhere, please report this"
    return to_failure(source, AudioError(stage, "unexpected", reason, retryable=False))
