"""The bytes of a recording, wherever it is, as a seekable file on this machine."""

from __future__ import annotations

import io
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import fsspec
import requests

from transforms.errors import AudioError
from transforms.types import AudioSource
from transforms.uris import is_http, is_url

MAX_BYTES = 16 << 30  # 10 hours of 24-bit stereo at 48 kHz are 10 GB
IN_MEMORY_BYTES = 32 << 20  # smaller recordings never touch the disk
BLOCK_BYTES = 1 << 20
TIMEOUT_S = (10.0, 60.0)  # to connect; between two bytes
BACK_OFF_S = (0.5, 2.0, 5.0)  # waits before the second, third and fourth attempt
MAX_REDIRECTS = 5
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
KINDS = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}


@contextmanager
def open_audio(source: AudioSource) -> Iterator[BinaryIO]:
    """Opens a recording: its payload, a local file in place, or a copy of what a URL gives.

    Yields:
        A seekable binary file, at its start and not empty; it is closed, and a copy deleted, at the end.

    Raises:
        AudioError: with stage `fetch`, after a few attempts where another might have succeeded.
    """
    with _open(source) as file:
        if not file.seek(0, os.SEEK_END):
            raise AudioError("fetch", "empty", "0 bytes")
        file.seek(0)
        yield file


@contextmanager
def _open(source: AudioSource) -> Iterator[BinaryIO]:
    if source.payload is not None:
        yield io.BytesIO(source.payload)
    elif not is_url(source.uri):
        with _open_local(source.uri) as file:
            yield file
    else:
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            copy = cast(BinaryIO, spool)
            _download(source.uri, copy)
            yield copy


def _open_local(path: str) -> BinaryIO:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a named pipe would wait for ever
            raise AudioError("fetch", "not_a_file", "a folder or a device, where a file was expected")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError("fetch", "not_found", f"no such file: {path}") from error
    except PermissionError as error:
        raise AudioError("fetch", "forbidden", f"not allowed to read {path}") from error
    except OSError as error:
        raise AudioError("fetch", "io", f"cannot open {path}: {error}", retryable=True) from error


def _download(url: str, copy: BinaryIO) -> None:
    fetch = _from_http if is_http(url) else _from_fsspec
    for attempt, wait_s in enumerate((*BACK_OFF_S, None), start=1):
        try:
            fetch(url, copy)
            return
        except AudioError as error:
            error.attempts = attempt
            if not error.retryable or wait_s is None:
                raise
        time.sleep(wait_s)
        copy.seek(0)
        copy.truncate()


def _from_http(url: str, copy: BinaryIO) -> None:
    """One attempt. urllib3 2 compares the body with its Content-Length, and says so when it is short."""
    try:
        with requests.Session() as session:
            session.max_redirects = MAX_REDIRECTS
            headers = {"Accept-Encoding": "identity"}
            with session.get(url, stream=True, timeout=TIMEOUT_S, headers=headers) as response:
                _check_status(response)
                _copy(response.iter_content(BLOCK_BYTES), copy)
    # `from None`: these exceptions quote the URL with its credentials, and a traceback would show them.
    except requests.exceptions.ChunkedEncodingError as error:
        raise AudioError("fetch", "short_body", f"the body broke off: {error}", retryable=True) from None
    except requests.Timeout as error:
        raise AudioError("fetch", "timeout", f"no answer in time: {error}", retryable=True) from None
    except requests.ConnectionError as error:
        raise AudioError("fetch", "connection", f"no connection: {error}", retryable=True) from None
    except (requests.RequestException, ValueError) as error:  # ValueError: what urllib3 cannot parse
        raise AudioError("fetch", "bad_url", f"cannot be fetched: {error}") from None


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status >= 400:
        kind = KINDS.get(status, f"http_{status}")
        message = f"the server answered {status} {response.reason}"
        raise AudioError("fetch", kind, message, retryable=status in RETRIED)


def _from_fsspec(url: str, copy: BinaryIO) -> None:
    """One attempt through whatever file system the URL names."""
    try:
        with fsspec.open(url, "rb") as file:
            n_bytes = _copy(iter(lambda: file.read(BLOCK_BYTES), b""), copy)
            expected = getattr(file, "size", None)
    except AudioError:
        raise
    except FileNotFoundError as error:
        raise AudioError("fetch", "not_found", f"no such object: {error}") from None
    except PermissionError as error:
        raise AudioError("fetch", "forbidden", f"not allowed to read: {error}") from None
    except IsADirectoryError as error:
        raise AudioError("fetch", "not_a_file", f"a folder, where a file was expected: {error}") from None
    except (ImportError, ValueError) as error:  # no such scheme, or its package is missing
        raise AudioError("fetch", "unsupported", f"{error}") from None
    except Exception as error:  # each file system raises errors of its own for a broken connection
        message = f"{type(error).__name__}: {error}"
        raise AudioError("fetch", "io", message, retryable=True) from None
    if expected is not None and n_bytes != expected:
        message = f"{n_bytes} of {expected} bytes came"
        raise AudioError("fetch", "short_body", message, retryable=True)


def _copy(blocks: Iterable[bytes], copy: BinaryIO) -> int:
    """Writes the blocks and counts their bytes, up to the cap."""
    n_bytes = 0
    for block in blocks:
        n_bytes += len(block)
        if n_bytes > MAX_BYTES:
            raise AudioError("fetch", "too_large", f"more than {MAX_BYTES} bytes")
        try:
            copy.write(block)
        except OSError as error:
            message = f"no room for a copy in {tempfile.gettempdir()}: {error}; point TMPDIR elsewhere"
            raise AudioError("fetch", "no_room", message, retryable=True) from error
    return n_bytes
