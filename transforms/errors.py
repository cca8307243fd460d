"""What can be wrong with a recording or with what the user named, and how it is told without secrets."""

from __future__ import annotations

import re

from transforms.types import AudioSource, Failure


class AudioError(Exception):
    """A known problem with one recording; the others go on.

    Attributes:
        stage: where it happened: `list`, `fetch`, `decode`, `transcribe` or `merge`.
        kind: a short word to count by, such as `not_found` or `not_audio`.
        message: what was wrong, with the value, and what to do; redacted.
        retryable: whether trying again, with nothing changed, might succeed.
        attempts: how often it was tried.
    """

    attempts = 1

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


_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@]*@)+")
_PARAMETERS = re.compile(r"[?#]([^\s?#'\"<>]+)")
_SECRET_NAME = re.compile(
    r"x-(amz|goog)-.+"
    r"|.*(token|signature|secret|passw|credential|session|(api|access)[-_]?key).*"
    r"|sig|sign|key|pwd|pass|auth|authorization|policy|expires|jwt|sas|hmac|code|key-pair-id|googleaccessid|hdnea|hdnts",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Takes credentials out of a URI, or out of a message that quotes some, so that it may be written.

    What goes: `user:password@`, and the parameters of signed URLs and others named like a secret. A name
    of a file that is no valid Unicode comes back escaped, since no output format could hold it. The path of
    a local file has no parameters: what looks like some, as wget leaves it, is its name.
    """
    if not text.startswith("/"):
        text = _PARAMETERS.sub(_without_secrets, _USER_INFO.sub("", text))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_secrets(parameters: re.Match[str]) -> str:
    given = parameters[1].split("&")
    kept = [part for part in given if "=" not in part or not _SECRET_NAME.fullmatch(part.partition("=")[0])]
    if len(kept) == len(given):
        return parameters[0]
    return parameters[0][0] + "&".join(kept) if kept else ""
