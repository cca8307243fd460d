"""What a run has done so far, on disk: so that a run that was killed goes on, and does nothing twice.

A folder of segments, each written by one process, at its end. A record is a line: the CRC-32 of the rest, a
space, and JSON. What a kill or a power cut leaves half written at the end of a segment has no right CRC, and
counts for nothing. On a file system that can only put whole objects, each commit is a segment of its own.

Records: `{"begun": KEY}` before work on a unit begins, and `{"done": KEY, "attempt": N, ...}` with all that
came out of it. When a unit is given up for a reason that is not its own, as a process ends or a disk is full,
its beginning is written over with `{"freed": KEY}`: that takes no room. Objects are never written over, and
`{"left": KEY}` is put beside them. So a unit that was begun several times and not done has perhaps killed its
process, which each time died before it could end. What is worked on part by part has the
keys KEY, KEY/PART, KEY/OTHER.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from transforms.core.redaction import redact

logger = logging.getLogger(__name__)

SUFFIX = ".log"

Record = dict[str, Any]
"""As JSON has it."""


class LogWriter:
    """Adds records to a log; one a process or thread, which alone writes its segments.

    Args:
        url: the folder of the log; made if there is none.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._file: IO[bytes] | None = None
        self._path, self._n_bytes = "", 0
        self._begun: dict[str, list[tuple[str, int]]] = {}  # where it says so: segment, byte
        self._lock = threading.RLock()  # `leave_all` may come from another thread

    def begin(self, keys: Sequence[str]) -> None:
        """Says that work on these units begins.

        That is not forced to the disk: it is there for processes that die, and not for power cuts.
        """
        with self._lock:
            _OPEN.add(self)
            for key in keys:
                path, start = self._add([_line({"begun": key})], durable=False)
                self._begun.setdefault(key, []).append((path, start))

    def leave(self, keys: Sequence[str]) -> None:
        """Says that work on these units ended before they were done, and not because of them.

        Raises:
            OSError: it cannot be said; `leave_all` tries again.
        """
        with self._lock:
            for key in keys:
                places = self._begun.get(key, [])
                while places:
                    self._free(key, *places[-1])
                    places.pop()
                self._forget(key)

    def leave_open(self) -> None:
        """Says so of all that was begun here, and is neither left nor done.

        Raises:
            OSError: it cannot be said; `leave_all` tries again.
        """
        with self._lock:
            self.leave(list(self._begun))

    def commit(self, results: Iterable[tuple[str, Record]]) -> None:
        """Adds what came out of units, each with its key; it is on the disk when this returns.

        Of a unit that is there twice the result with the highest `attempt` counts, and of these the first.

        Raises:
            OSError: it cannot be written; what was committed before stays.
        """
        with self._lock:
            done = [(key, _line({"done": key, **result})) for key, result in results]
            if done:
                self._add([line for _, line in done], durable=True)
            for key, _ in done:
                self._forget(key)

    def close(self) -> None:
        """Ends the segment; what is added later makes another."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _forget(self, key: str) -> None:
        self._begun.pop(key, None)
        if not self._begun:
            _OPEN.discard(self)

    def _free(self, key: str, path: str, start: int) -> None:
        if not self._is_local:
            self._add([_line({"left": key})], durable=False)
            return
        with open(path, "r+b", buffering=0) as file:
            file.seek(start)
            file.write(_line({"freed": key}))  # as long as what it takes the place of

    def _add(self, lines: Sequence[bytes], *, durable: bool) -> tuple[str, int]:
        """Gives the segment and the byte at which they begin."""
        content = b"".join(lines)
        if not self._is_local:
            self._fs.makedirs(self._root, exist_ok=True)
            path = self._new_path()
            self._fs.pipe_file(path, content)
            return path, 0
        try:
            return self._written(content, durable=durable)
        except OSError:
            self._cut_off()
            raise

    def _written(self, content: bytes, *, durable: bool) -> tuple[str, int]:
        file, start = self._file or self._new_file(), self._n_bytes
        if file.write(content) != len(content):
            raise OSError(f"a record of {len(content)} bytes was cut: is the disk full?")
        if durable:
            os.fsync(file.fileno())
        self._n_bytes += len(content)
        return self._path, start

    def _new_file(self) -> IO[bytes]:
        os.makedirs(self._root, exist_ok=True)
        self._path, self._n_bytes = self._new_path(), 0
        self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115  # for many commits
        _sync_folder(self._root)
        return self._file

    def _cut_off(self) -> None:
        """Takes away what could not be written as a whole; another record makes another segment."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._n_bytes)
            self.close()

    def _new_path(self) -> str:
        return f"{self._root}/{uuid.uuid4().hex}{SUFFIX}"


_OPEN: set[LogWriter] = set()
"""The writers of this process that have begun something, and neither left nor done it."""


def leave_all() -> None:
    """Says of all that this process works on that it was left, if that can be written.

    A process that ends has not died of it, whatever ended it. Python's own end does this, too.
    """
    for writer in list(_OPEN):
        with suppress(
            Exception
        ):  # of whatever file system; what ended the process is to be told, and not this
            writer.leave_open()
        writer.close()


atexit.register(leave_all)


class _Place(NamedTuple):
    """Where a record is: its segment, its first byte and the one behind it."""

    path: str
    start: int
    stop: int
    attempt: int


@dataclass
class LogIndex:
    """What a log holds, by the keys of units; the results themselves are read when they are asked for.

    Attributes:
        n_open: how often a unit was begun, and neither left nor done: its process died.
    """

    n_open: Counter[str] = field(default_factory=Counter)
    _places: dict[str, _Place] = field(default_factory=dict)
    _further: dict[str, dict[str, None]] = field(default_factory=dict)  # keys of further parts, in order
    _fs: Any = None

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def keys_of(self, unit: str) -> list[str]:
        """The keys of a unit's parts that were begun, its own first."""
        return [unit, *self._further.get(unit, ())]

    def next_attempt(self, key: str) -> int:
        """The number that a result must have to count before what is there, 1 where there is none."""
        return self._places[key].attempt + 1 if key in self._places else 1

    def read(self, key: str) -> Record:
        """What came out of a unit that is done.

        Raises:
            KeyError: it is not.
            OSError: it cannot be read.
        """
        place = self._places[key]
        record = _parsed(self._fs.cat_file(place.path, start=place.start, end=place.stop))
        if record is None or record.get("done") != key:
            raise OSError(f"{redact(place.path)} has changed while it was read")
        return record

    def add(self, record: Record, place: _Place) -> None:
        """Takes in a record that was found."""
        key = record.get("begun") or record.get("done") or ""
        if "/" in key:
            self._further.setdefault(key.partition("/")[0], {})[key] = None
        if "begun" in record:
            self._count_open(record["begun"], 1)
        elif "left" in record:
            self._count_open(record["left"], -1)
        elif "done" in record:
            self._count_open(record["done"], -1)
            known = self._places.get(record["done"])
            if known is None or place.attempt > known.attempt:
                self._places[record["done"]] = place

    def _count_open(self, key: str, n: int) -> None:
        """What comes to nothing, as it does for nearly all of millions, is forgotten."""
        self.n_open[key] += n
        if not self.n_open[key]:
            del self.n_open[key]


def read_index(url: str) -> LogIndex:
    """Reads a log through; one that is not there is empty.

    Raises:
        OSError: it cannot be read.
    """
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    index = LogIndex(_fs=fs)
    if not fs.exists(root):
        return index
    for path in sorted(_segments(fs, root)):
        for start, stop, record in _records(fs, path):
            index.add(record, _Place(path, start, stop, record.get("attempt", 1)))
    return index


def _segments(fs: Any, root: str) -> Iterator[str]:  # noqa: ANN401  # fsspec is untyped
    for entry in fs.ls(root, detail=True):
        if not entry["name"].endswith(SUFFIX):
            continue
        if entry["type"] == "file":
            yield entry["name"]
        else:
            logger.warning("%s is no file, and is not read as a part of the log", redact(entry["name"]))


def _records(fs: Any, path: str) -> Iterator[tuple[int, int, Record]]:  # noqa: ANN401  # fsspec is untyped
    """Where each good record of a segment is, in bytes, and what it says."""
    try:
        file = fs.open(path, "rb")
    except PermissionError as error:
        logger.warning("%s cannot be read (%s); the work in it is done again", redact(path), error.strerror)
        return
    start = 0
    with file:
        for line in file:
            stop = start + len(line)
            record = _parsed(line)
            if record is not None:
                yield start, stop, record
            elif line.endswith(b"\n"):
                logger.warning("%s has a damaged record at byte %d; its work is done again", path, start)
            start = stop


def _line(record: Record) -> bytes:
    # ASCII, as a file name that is no valid Unicode must come back as it was; no line breaks are in it.
    content = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _parsed(line: bytes) -> Record | None:
    """The record of a line; None when it is damaged, or was not written to its end."""
    told, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or told != b"%08x" % zlib.crc32(content):
        return None
    try:
        record = json.loads(content)
    except ValueError:  # of nothing, the CRC is 0
        return None
    return record if isinstance(record, dict) else None


def _sync_folder(path: str) -> None:
    """Forces a new file's name to the disk; where folders cannot be opened, as on Windows, it is not."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
