"""Downloads from file systems of fsspec, such as object stores."""

from __future__ import annotations

from time import monotonic

import fsspec

from transforms.core.cancellation import Check, StopRequestedError, check_stop
from transforms.core.errors import AudioError
from transforms.fetch.policy import FetchPolicy
from transforms.fetch.public_addresses import check_hosts_named
from transforms.fetch.spool import Spool

READ_BYTES = 1 << 20

ByteRange = tuple[int, int]
"""(start, stop): the first byte of a range of an object, and the byte after its last."""


def copy_object(
    url: str,
    spool: Spool,
    policy: FetchPolicy,
    deadline: float,
    byte_range: ByteRange | None = None,
    check: Check = check_stop,
) -> None:
    """Makes one attempt, from the start; the deadline and `check` are checked between two blocks.

    Within a block, and for redirects, the limits are those of the file system.

    Args:
        url: the object.
        spool: receives the copy.
        policy: which URIs may be fetched.
        deadline: end of the download, on the clock of `time.monotonic`.
        byte_range: the range to copy, a few megabytes at most; None for the whole object.
        check: may raise.

    Raises:
        AudioError: with stage `fetch`.
    """
    if not policy.allow_private_hosts:
        check_hosts_named(url)
    spool.restart()
    try:
        expected = (
            _copy(url, spool, policy, deadline, check)
            if byte_range is None
            else _copy_range(url, spool, *byte_range)
        )
    except (AudioError, StopRequestedError):
        raise
    except FileNotFoundError as error:
        raise AudioError("fetch", "not_found", f"no such object: {error}") from None
    except PermissionError as error:
        raise AudioError("fetch", "forbidden", f"not allowed to read: {error}") from None
    except IsADirectoryError as error:
        raise AudioError("fetch", "not_a_file", f"a folder, where a file was expected: {error}") from None
    except (ImportError, ValueError) as error:  # unknown scheme, or its package is missing
        raise AudioError("fetch", "unsupported", f"{error}") from None
    except Exception as error:  # each file system has its own errors for a broken connection
        message = f"{type(error).__name__}: {error}"
        raise AudioError("fetch", "io", message, retryable=True) from None
    if expected is not None and spool.n_bytes != expected:
        message = f"{spool.n_bytes} of {expected} bytes came"
        raise AudioError("fetch", "short_body", message, retryable=True)


def _copy_range(url: str, spool: Spool, start: int, stop: int) -> int:
    fs, path = fsspec.core.url_to_fs(url)
    spool.write(fs.cat_file(path, start=start, end=stop))  # an open file would read ahead by megabytes
    return stop - start


def _copy(url: str, spool: Spool, policy: FetchPolicy, deadline: float, check: Check) -> int | None:
    """Copies an object; returns its declared length, or None if the file system does not declare it."""
    with fsspec.open(url, "rb") as file:
        size = getattr(file, "size", None)
        if size is not None:
            spool.expect(size)
        while block := file.read(READ_BYTES):
            spool.write(block)
            check()
            if monotonic() > deadline:
                message = f"not done in {policy.fetch_timeout_s:g} s (--fetch_timeout_s)"
                raise AudioError("fetch", "timeout", message, retryable=True)
    return None if size is None else int(size)
