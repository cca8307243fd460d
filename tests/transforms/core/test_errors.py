from __future__ import annotations

import pickle

from transforms.core.errors import AudioError, InputError, to_failure
from transforms.core.types import AudioSource, Failure

SIGNED = (
    "https://user:hunter2@host.example/talks/a%20b.mp3?part=2&X-Amz-Credential=AKIAEXAMPLE%2F2026"
    "&X-Amz-Signature=5ec4e7&lang=en"
)


def test_errors_contain_no_credentials() -> None:
    error = AudioError("fetch", "timeout", f"no answer from {SIGNED}", retryable=True)
    assert str(error) == (
        "fetch: timeout: no answer from https://host.example/talks/a%20b.mp3?part=2&lang=en"
    )
    assert "hunter2" not in repr(error)
    assert "hunter2" not in str(InputError(f"cannot list {SIGNED}"))


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(AudioError("fetch", "timeout", "no answer", retryable=True)))
    assert (error.stage, error.kind, error.message, error.retryable) == (
        "fetch", "timeout", "no answer", True,
    )  # fmt: skip


def test_failure_contains_no_credentials() -> None:
    failure = to_failure(AudioSource("id", SIGNED), AudioError("decode", "corrupt", f"bad: {SIGNED}"))
    uri = "https://host.example/talks/a%20b.mp3?part=2&lang=en"
    assert failure == Failure("id", uri, "decode", "corrupt", f"bad: {uri}", retryable=False)
