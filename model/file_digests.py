"""Digests of files of checkpoints: computed once for each file of a process."""

from __future__ import annotations

import hashlib
import re
import threading
from functools import cache
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 24  # bytes; after each block, as after each read, another thread may take the interpreter
_LOCK = threading.Lock()  # two threads that load the same model read its files once


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits.

    In the cache of `huggingface_hub`, large files are called by it (`blobs/SHA256`), and are not read.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    if path.parent.name == "blobs" and _DIGEST.fullmatch(path.name):
        return path.name
    status = path.stat()
    with _LOCK:
        return _computed(path, status.st_size, status.st_mtime_ns)


@cache
def _computed(path: Path, _n_bytes: int, _changed_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
