"""Commit log of a run, on disk: after a crash, the run continues and repeats nothing that was committed.

The log is a folder of segments. One process appends to each. A record is a line: the CRC-32 of the rest, a
space, and JSON. A record that a kill or a power cut left incomplete at the end of a segment has a wrong CRC
and is ignored. On a file system that can only write whole objects, each commit is a segment.

Records, by the key of a span:

- `{"begun": KEY}` before work on the span starts;
- `{"done": KEY, "attempt": N, ...}` with its result;
- if work on it ends early for another reason, such as the end of the process or a full disk, its first record
  is overwritten with `{"freed": KEY}`, which has the same length, so that it needs no space on the disk.
  Objects cannot be overwritten: there, `{"left": KEY}` is added.

So a span that was started several times, and neither finished nor released, may have crashed the process that
worked on it. The first span of a work unit has the key KEY, the others
KEY/CHANNEL/START (`transforms.checkpoint.spans.span_key`).
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

from transforms.core.cancellation import check_stop
from transforms.core.redaction import redact

logger = logging.getLogger(__name__)

SUFFIX = ".log"

# Names in the records, which are a file format: logs of earlier runs contain them.
_STARTED, _FINISHED, _RELEASED = "begun", "done", "left"
_RELEASED_IN_PLACE = "freed"
assert len(_RELEASED_IN_PLACE) == len(_STARTED), "a record is overwritten by one of the same length"

Record = dict[str, Any]
"""A JSON object."""


class LogWriter:
    """Appends records to a log. Each process or thread has its own writer, which writes its own segments.

    Args:
        url: the folder of the log; created if it does not exist.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._file: IO[bytes] | None = None
        self._path, self._n_bytes = "", 0
        self._started: dict[str, list[tuple[str, int]]] = {}  # their start records: segment, byte
        self._lock = threading.RLock()  # `release_all_writers` may be called by another thread

    def begin(self, keys: Sequence[str]) -> None:
        """Records that work on these spans starts.

        It is not synced to the disk, as it is needed after a crash of the process, not after a power cut.

        Raises:
            StopRequestedError: the run is to stop. Work that a thread began after all spans were released
                would count as a crash.
        """
        with self._lock:
            check_stop()
            _ACTIVE_WRITERS.add(self)
            for key in keys:
                path, start = self._add([_line({_STARTED: key})], durable=False)
                self._started.setdefault(key, []).append((path, start))

    def release(self, keys: Sequence[str]) -> None:
        """Records that work on these spans ended early for a reason that is not theirs.

        Raises:
            OSError: it cannot be written; `release_all_writers` tries again.
        """
        with self._lock:
            for key in keys:
                starts = self._started.get(key, [])
                while starts:
                    self._overwrite_start(key, *starts[-1])
                    starts.pop()
                self._drop(key)

    def release_all(self) -> None:
        """Releases all spans that were started here and are neither finished nor released.

        Raises:
            OSError: it cannot be written; `release_all_writers` tries again.
        """
        with self._lock:
            self.release(list(self._started))

    def commit(self, results: Iterable[tuple[str, Record]]) -> None:
        """Adds the results of spans, each with its key; they are on the disk when this returns.

        If a span has several results, that with the highest `attempt` counts, and among equals the first.

        Raises:
            OSError: it cannot be written; what was committed before stays.
        """
        with self._lock:
            lines = [(key, _line({_FINISHED: key, **result})) for key, result in results]
            if lines:
                self._add([line for _, line in lines], durable=True)
            for key, _ in lines:
                self._drop(key)

    def close(self) -> None:
        """Closes the segment; later records start another."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _drop(self, key: str) -> None:
        self._started.pop(key, None)
        if not self._started:
            _ACTIVE_WRITERS.discard(self)

    def _overwrite_start(self, key: str, path: str, start: int) -> None:
        if not self._is_local:
            self._add([_line({_RELEASED: key})], durable=False)
            return
        with open(path, "r+b", buffering=0) as file:
            file.seek(start)
            file.write(_line({_RELEASED_IN_PLACE: key}))

    def _add(self, lines: Sequence[bytes], *, durable: bool) -> tuple[str, int]:
        """Appends lines; returns the segment and the byte at which they start."""
        content = b"".join(lines)
        if not self._is_local:
            self._fs.makedirs(self._root, exist_ok=True)
            path = self._new_path()
            self._fs.pipe_file(path, content)
            return path, 0
        try:
            return self._append(content, durable=durable)
        except OSError:
            self._truncate()
            raise

    def _append(self, content: bytes, *, durable: bool) -> tuple[str, int]:
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
        self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115  # stays open for many commits
        _sync_folder(self._root)
        return self._file

    def _truncate(self) -> None:
        """Removes an incomplete record; the next record starts another segment."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._n_bytes)
            self.close()

    def _new_path(self) -> str:
        return f"{self._root}/{uuid.uuid4().hex}{SUFFIX}"


_ACTIVE_WRITERS: set[LogWriter] = set()
"""Writers of this process with spans that are neither finished nor released."""


def release_all_writers() -> None:
    """Releases all spans that this process works on, as far as that can be written.

    A process that ends in an orderly way was not crashed by them. It is also called when Python exits.
    """
    for writer in list(_ACTIVE_WRITERS):
        with suppress(Exception):  # of any file system: report what ended the process instead
            writer.release_all()
        writer.close()


atexit.register(release_all_writers)


class _Location(NamedTuple):
    """Location of a result: its segment, its first byte, and one past its last byte."""

    path: str
    start: int
    stop: int
    attempt: int


@dataclass
class LogIndex:
    """Content of a log, by the keys of spans; the results themselves are read on demand.

    Attributes:
        n_crashed: how often a span was started, and neither finished nor released: its process crashed.
    """

    n_crashed: Counter[str] = field(default_factory=Counter)
    _locations: dict[str, _Location] = field(default_factory=dict)
    # The keys of the spans after the first one, by unit, in order.
    _later_keys: dict[str, dict[str, None]] = field(default_factory=dict)
    _fs: Any = None

    def __contains__(self, key: str) -> bool:
        return key in self._locations

    def __len__(self) -> int:
        return len(self._locations)

    def keys_of(self, unit: str) -> list[str]:
        """Returns the keys of a unit's spans that were started or finished, after its own key."""
        return [unit, *self._later_keys.get(unit, ())]

    def next_attempt(self, key: str) -> int:
        """Returns the `attempt` with which a new result replaces the one in the log; 1 if there is none."""
        return self._locations[key].attempt + 1 if key in self._locations else 1

    def read(self, key: str) -> Record:
        """Returns the result of a span.

        Raises:
            KeyError: it is not finished.
            OSError: it cannot be read.
        """
        location = self._locations[key]
        record = _parsed(self._fs.cat_file(location.path, start=location.start, end=location.stop))
        if record is None or record.get(_FINISHED) != key:
            raise OSError(f"{redact(location.path)} has changed while it was read")
        return record

    def add(self, record: Record, location: _Location) -> None:
        """Adds a record of the log."""
        key = record.get(_STARTED) or record.get(_FINISHED) or ""
        if "/" in key:
            self._later_keys.setdefault(key.partition("/")[0], {})[key] = None
        if _STARTED in record:
            self._count_unfinished(record[_STARTED], 1)
        elif _RELEASED in record:
            self._count_unfinished(record[_RELEASED], -1)
        elif _FINISHED in record:
            self._count_unfinished(record[_FINISHED], -1)
            known = self._locations.get(record[_FINISHED])
            if known is None or location.attempt > known.attempt:
                self._locations[record[_FINISHED]] = location

    def _count_unfinished(self, key: str, n: int) -> None:
        """Keeps counts other than 0 only: nearly all of millions of spans have 0."""
        self.n_crashed[key] += n
        if not self.n_crashed[key]:
            del self.n_crashed[key]


def read_index(url: str) -> LogIndex:
    """Reads a log; one that does not exist is empty.

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
            index.add(record, _Location(path, start, stop, record.get("attempt", 1)))
    return index


def _segments(fs: Any, root: str) -> Iterator[str]:  # noqa: ANN401  # fsspec is untyped
    for entry in fs.ls(root, detail=True):
        if not entry["name"].endswith(SUFFIX):
            continue
        if entry["type"] == "file":
            yield entry["name"]
        else:
            logger.warning("%s is not a file, and is not read as a part of the log", redact(entry["name"]))


def _records(fs: Any, path: str) -> Iterator[tuple[int, int, Record]]:  # noqa: ANN401  # fsspec is untyped
    """Yields each valid record of a segment: its first byte, one past its last byte, and its content."""
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
    # ASCII, so that file names that are not valid Unicode are preserved; JSON contains no line breaks.
    content = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _parsed(line: bytes) -> Record | None:
    """Returns the record of a line; None if it is damaged or incomplete."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(content):
        return None
    try:
        record = json.loads(content)
    except ValueError:  # empty content, whose CRC is 0
        return None
    return record if isinstance(record, dict) else None


def _sync_folder(path: str) -> None:
    """Syncs the name of a new file to the disk; not on Windows, where folders cannot be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
