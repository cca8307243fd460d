"""What can be wrong with a recording or with what the user named, and how it is told without secrets."""

from __future__ import annotations

from transforms.core.redaction import redact
from transforms.core.types import AudioSource, Failure


class AudioError(Exception):
    """A known problem with one recording; the others go on.

    Attributes:
        stage: where it happened: `list`, `fetch`, `decode`, `transcribe` or `merge`.
        kind: a short word to count by, such as `not_found` or `not_audio`.
        message: what was wrong, with the value, and what to do; redacted.
        retryable: whether trying again, with nothing changed, might succeed.
        attempts: how often it was tried.
        retry_after_s: seconds that a server asked to wait before the next attempt; None where none did.
    """

    attempts = 1
    retry_after_s: float | None = None

    def __init__(self, stage: str, kind: str, message: str, retryable: bool = False) -> None:
        self.stage, self.kind, self.message, self.retryable = stage, kind, redact(message), retryable
        super().__init__(stage, kind, self.message, retryable)  # what pickle builds it from again

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}: {self.message}"


class InputError(ValueError):
    """What the user named cannot be listed: an error at the start, before any audio is read."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class NoInputError(InputError):
    """Nothing matches what the user named."""


class ManifestError(InputError):
    """A line of a manifest cannot be used; the message names file and line."""


class DatasetError(InputError):
    """A dataset cannot be read, or has no such split or column."""


def to_failure(source: AudioSource, error: AudioError) -> Failure:
    """The row that tells of a recording's error, without credentials."""
    return Failure(
        source.audio_id,
        redact(source.name),
        error.stage,
        error.kind,
        error.message,
        error.retryable,
        error.attempts,
    )
