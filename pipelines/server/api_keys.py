"""API keys: where they come from, and the check of each request."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.option_checks import OptionsError
from pipelines.server.errors import unauthorized

VARIABLE = "WHISPER_BEAM_API_KEY"
OPEN_PATHS = frozenset({"/", "/health", "/ready"})
"""Paths that need no key: the page, which asks for one, and what load balancers and orchestrators call.

All others do, `/metrics` and `/openapi.json` too, and those that do not exist.
"""


class ApiKeys:
    """The keys of a server. Only their hashes are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Creates the keys; without any, every request is allowed."""
        self._digests = tuple(dict.fromkeys(_digest(key.encode()) for key in keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def find(self, key: bytes) -> int | None:
        """Returns the index of a key; None for a wrong one.

        The time depends neither on the key nor on which one it is: all are compared, by their hashes.
        """
        digest = _digest(key)
        found = None
        for index, known in enumerate(self._digests):
            if hmac.compare_digest(known, digest):
                found = index
        return found


class KeyCheck:
    """Refuses requests without a key with 401, except for `OPEN_PATHS`; without keys it does nothing.

    The index of the key is in `scope["state"]["key"]` from then on, by which a client's rate is limited.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, if the key is right or not needed."""
        if scope["type"] != "http" or not self._keys or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        key = _bearer(Headers(scope=scope))
        index = self._keys.find(key) if key else None
        if index is None:
            await unauthorized(missing=not key).response()(scope, receive, send)
            return
        scope.setdefault("state", {})["key"] = index
        await self._app(scope, receive, send)


def load_keys(
    keys: Iterable[str], file: str | None = None, environment: Mapping[str, str] = os.environ
) -> ApiKeys:
    """Returns the keys of options, of a file and of the environment variable `WHISPER_BEAM_API_KEY`.

    Args:
        keys: values of the option.
        file: path of a file with a key a line; empty lines and lines that begin with `#` are skipped.
        environment: the environment variables.

    Raises:
        OptionsError: an empty key, one with spaces or letters that no header can have, or a file without any:
            a mistake must not open the server.
    """
    found = [_checked(key, "--api_key") for key in keys]
    if file is not None:
        found += _read_keys(file)
    if VARIABLE in environment:
        found.append(_checked(environment[VARIABLE], VARIABLE))
    return ApiKeys(found)


def _read_keys(file: str) -> list[str]:
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"--api_key_file {file}: cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not keys:
        raise OptionsError(f"--api_key_file {file}: has no keys; write one a line")
    return [_checked(key, f"--api_key_file {file}") for key in keys]


def _checked(key: str, where: str) -> str:
    if not key:
        raise OptionsError(f"{where} is empty: is a variable of your shell not set?")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise OptionsError(f"{where}: a key may have letters, digits and signs of ASCII only, and no spaces")
    return key


def _bearer(headers: Headers) -> bytes:
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
