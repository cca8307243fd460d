"""Files that appear as a whole or not at all, on any filesystem that fsspec knows."""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from transforms.core.redaction import redact

PARTIAL_SUFFIX = ".partial"  # of a local file that is still being written

_FULL = (errno.ENOSPC, errno.EDQUOT)


class OutputError(OSError):
    """A file of the output that could not be written: which, and why; `filename` is without credentials."""

    def __str__(self) -> str:
        advice = "; free some space, and give the same command again" if self.errno in _FULL else ""
        return f"{self.filename} cannot be written: {self.strerror}{advice}"


@contextmanager
def published(url: str) -> Iterator[IO[bytes]]:
    """Yields a binary file that becomes `url` when the block ends; when the block raises, nothing does.

    A file of that name is replaced. fsspec's own `autocommit=False` is not used: its local temporary file
    lies in another folder, so that its commit may be a copy, and other filesystems commit what an
    exception left half written.

    Raises:
        OutputError: the file cannot be written: no permission, no space, no such bucket. The block raised it,
            or it came of making the file; either way nothing of it is left.
    """
    fs, path = fsspec.core.url_to_fs(url)
    make = _replaced(Path(path)) if isinstance(fs, LocalFileSystem) else _uploaded(fs, path)
    try:
        with make as file:
            yield file
    except OSError as error:
        raise OutputError(error.errno, error.strerror or str(error), redact(url)) from error


@contextmanager
def _uploaded(fs: AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder, "staged")
        with staged.open("wb") as file:
            yield file
        fs.put_file(str(staged), path)  # one upload: an object store shows it only once it is complete


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # the name must not survive a power cut that the bytes did not
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
