"""Opens the bytes of a recording, from any source, as a seekable local file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from time import monotonic
from typing import BinaryIO

import fsspec

from transforms.core.cancellation import Check, check_stop
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import is_http, is_url
from transforms.fetch.fsspec_download import ByteRange, copy_object
from transforms.fetch.host_slots import HOSTS
from transforms.fetch.http import NO_ANSWER, HttpDownload, host_of
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.fetch.public_addresses import check_hosts_named
from transforms.fetch.retries import with_retries
from transforms.fetch.spool import Spool

Opener = Callable[[AudioSource, FetchPolicy, Check], AbstractContextManager[BinaryIO]]
"""Opens the file of a recording, as `open_audio` does."""


@contextmanager
def open_audio(
    source: AudioSource, policy: FetchPolicy = DEFAULT_POLICY, check: Check = check_stop
) -> Iterator[BinaryIO]:
    """Opens a recording: its payload, a local file in place, or a copy of a URL.

    Args:
        source: the recording.
        policy: which URIs may be fetched.
        check: called repeatedly during a download, also from another thread; may raise.

    Yields:
        A seekable binary file, at its start and not empty; at the end it is closed, and a copy is deleted.

    Raises:
        AudioError: with stage `fetch`, after several attempts if the error is retryable.
    """
    with _open(source, policy, check) as file:
        if not file.seek(0, os.SEEK_END):
            raise AudioError("fetch", "empty", "0 bytes")
        file.seek(0)
        yield file


@contextmanager
def open_in_place(source: AudioSource, policy: FetchPolicy = DEFAULT_POLICY) -> Iterator[BinaryIO]:
    """Opens a file of which only a part is read, such as its header: an object of a store is not downloaded.

    All other recordings are opened by `open_audio`.

    Raises:
        AudioError: see `open_audio`; or a host that the policy forbids.
        Exception: any error of the file system.
    """
    if source.payload is not None or is_http(source.uri) or not is_url(source.uri):
        with open_audio(source, policy) as file:
            yield file
        return
    if not policy.allow_private_hosts:
        check_hosts_named(source.uri)
    with fsspec.open(source.uri, "rb") as file:
        yield file


@contextmanager
def open_byte_range(
    url: str, byte_range: ByteRange, policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[BinaryIO]:
    """Opens a copy of a small byte range of a large file, from any file system except `http(s)`.

    Raises:
        AudioError: with stage `fetch`, after several attempts if the error is retryable.
    """
    with Spool(policy.limits) as spool:
        deadline = monotonic() + policy.fetch_timeout_s
        attempt = partial(copy_object, url, spool, policy, deadline, byte_range)
        with_retries(attempt, spool, policy.limits, deadline)
        spool.file.seek(0)
        yield spool.file


@contextmanager
def _open(source: AudioSource, policy: FetchPolicy, check: Check) -> Iterator[BinaryIO]:
    if source.payload is not None:
        yield io.BytesIO(source.payload)
    elif not is_url(source.uri):
        with _open_local(source.uri) as file:
            yield file
    else:
        with Spool(policy.limits) as spool:
            _download(source.uri, spool, policy, check)
            yield spool.file


def _open_local(path: str) -> BinaryIO:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would block
            raise AudioError("fetch", "not_a_file", "a folder or a device, where a file was expected")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError("fetch", "not_found", f"no such file: {path}") from error
    except PermissionError as error:
        raise AudioError("fetch", "forbidden", f"not allowed to read {path}") from error
    except OSError as error:
        raise AudioError("fetch", "io", f"cannot open {path}: {error}", retryable=True) from error


def _download(url: str, spool: Spool, policy: FetchPolicy, check: Check) -> None:
    limits = policy.limits
    deadline = monotonic() + policy.fetch_timeout_s
    if not is_http(url):
        copy = partial(copy_object, url, spool, policy, deadline, check=check)
        with_retries(copy, spool, limits, deadline, check=check)
        return
    host = host_of(url)
    # Ten thousand recordings from an unreachable host must not take a week.
    no_retry_kinds = NO_ANSWER if HOSTS.is_unresponsive(host) else frozenset()
    try:
        attempt = HttpDownload(url, spool, policy, deadline, check).attempt
        with_retries(attempt, spool, limits, deadline, no_retry_kinds, check)
    except AudioError as error:
        if error.kind in NO_ANSWER:
            HOSTS.record_no_answer(host)
        raise
