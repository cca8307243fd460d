"""Writes files that appear as a whole or not at all, on any filesystem that fsspec supports."""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec
from fsspec import AbstractFileSystem
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from transforms.core.redaction import redact

PARTIAL_SUFFIX = ".partial"  # of a local file that is still being written

_FULL = (errno.ENOSPC, errno.EDQUOT)


class OutputError(OSError):
    """A file of the output could not be written; `filename` is without credentials, `strerror` the reason."""

    def __str__(self) -> str:
        advice = "; free some space, and give the same command again" if self.errno in _FULL else ""
        return f"{self.filename} cannot be written: {self.strerror}{advice}"


@contextmanager
def atomic_write(url: str) -> Iterator[IO[bytes]]:
    """Yields a binary file that becomes `url` when the block ends, and is discarded when the block raises.

    An existing file is replaced. fsspec's own `autocommit=False` is not used: its local temporary file is in
    another folder, so that its commit may be a copy, and other filesystems commit a file that an exception
    left half written.

    Raises:
        OutputError: the block or the creation of the file raised an `OSError`: no permission, no space, no
            such bucket. No partial file remains.
    """
    fs, path = fsspec.core.url_to_fs(url)
    writer = _write_local(Path(path)) if isinstance(fs, LocalFileSystem) else _write_remote(fs, path)
    try:
        with writer as file:
            yield file
    except OSError as error:
        raise OutputError(error.errno, error.strerror or str(error), redact(url)) from error


@contextmanager
def _write_remote(fs: AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder, "staged")
        with staged.open("wb") as file:
            yield file
        # A single upload: an object store shows a file only when it is complete.
        fs.put_file(str(staged), path)


@contextmanager
def _write_local(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # after a power cut the name must not exist without the bytes
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_folder(fs: AbstractFileSystem, path: str) -> None:
    """Removes a folder of a file system and all that is in it.

    Raises:
        OSError: a file cannot be removed.
    """
    if isinstance(fs, LocalFileSystem) or not has_magic(path):
        fs.rm(path, recursive=True)
    else:
        _remove_files(fs, fs.find(path))


def _remove_files(fs: AbstractFileSystem, paths: Sequence[str]) -> None:
    """Removes files, many at once where possible; fsspec takes a name with brackets for a pattern."""
    if plain := [path for path in paths if not has_magic(path)]:
        fs.rm(plain)
    for path in filter(has_magic, paths):
        fs.rm_file(path)


def move_files(fs: AbstractFileSystem, moves: Sequence[tuple[str, str]]) -> None:
    """Moves complete files of a file system, each atomically; an existing file is replaced.

    Object stores have no move: there, all are copied, and then the originals are removed.

    Args:
        fs: the file system.
        moves: old and new path of each file.

    Raises:
        OSError: a file cannot be moved; those before it are.
    """
    if not moves:
        return
    if not isinstance(fs, LocalFileSystem):
        old, new = map(list, zip(*moves, strict=True))
        fs.copy(old, new)
        _remove_files(fs, old)
        return
    for folder in sorted({os.path.dirname(new_path) for _, new_path in moves}):
        os.makedirs(folder, exist_ok=True)
    for old_path, new_path in moves:
        os.replace(old_path, new_path)
