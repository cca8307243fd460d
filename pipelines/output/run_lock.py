"""File lock on a local output folder: one run at a time writes to it.

The operating system releases the lock of a run that dies.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import fsspec

from pipelines.output.run_files import LOCK_FILE
from pipelines.output.run_folder import RunFolder, RunFolderError
from transforms.core.redaction import redact

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of network file systems without locks."""


@contextmanager
def exclusive_access(folder: RunFolder) -> Iterator[None]:
    """Locks a folder for one run, where its file system supports locks: object stores do not.

    Workers of the run take no lock: the process that started them holds it.

    Raises:
        RunFolderError: another run is writing to the folder, or it is not writable.
    """
    if fcntl is None or not folder.is_local:
        yield
        return
    try:
        file = _opened(folder)
    except OSError as error:
        raise RunFolderError(folder.write_error_message(error)) from error
    try:
        _lock(file, folder)
        yield
        with suppress(OSError):
            os.ftruncate(file, 0)  # the process id is no longer valid
    finally:
        os.close(file)


def _opened(folder: RunFolder) -> int:
    path = f"{fsspec.core.url_to_fs(folder.url)[1]}/{LOCK_FILE}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(file: int, folder: RunFolder) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return
        holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        writer = f"process {holder}" if holder.isdecimal() else "another process"
        raise RunFolderError(
            f"--output {redact(folder.url)} is being written by {writer}; wait for its end, or give another "
            "--output"
        ) from error
    with suppress(OSError):  # on a full disk the lock holds without the process id
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
