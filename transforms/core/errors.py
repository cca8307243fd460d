"""Errors of recordings and of the user's input; their messages contain no secrets."""

from __future__ import annotations

from transforms.core.redaction import redact
from transforms.core.types import AudioSource, Failure


class AudioError(Exception):
    """A known problem of one recording; the run continues with the others.

    Attributes:
        stage: where it occurred: `list`, `fetch`, `decode`, `transcribe` or `merge`.
        kind: short name of the kind of error, such as `not_found` or `not_audio`; failures are counted by it.
        message: what was wrong, with the value, and what to do; redacted.
        retryable: whether another attempt, with nothing changed, might succeed.
        attempts: number of attempts made.
        retry_after_s: seconds that a server asked to wait before the next attempt; None if it did not.
    """

    attempts = 1
    retry_after_s: float | None = None

    def __init__(self, stage: str, kind: str, message: str, retryable: bool = False) -> None:
        self.stage, self.kind, self.message, self.retryable = stage, kind, redact(message), retryable
        super().__init__(stage, kind, self.message, retryable)  # pickle reconstructs it from these

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}: {self.message}"


class InputError(ValueError):
    """The user's input cannot be listed; raised at the start, before any audio is read."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class NoInputError(InputError):
    """Nothing matches the user's input."""


class ManifestError(InputError):
    """A line of a manifest cannot be used; the message names file and line."""


class DatasetError(InputError):
    """A dataset cannot be read, or has no such split or column."""


def to_failure(source: AudioSource, error: AudioError) -> Failure:
    """Returns the failure of a recording for an error, without credentials."""
    return Failure(
        source.audio_id,
        redact(source.name),
        error.stage,
        error.kind,
        error.message,
        error.retryable,
        error.attempts,
    )
