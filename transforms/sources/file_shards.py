"""Groups many recordings into few work items; groups of plain files as work items."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from transforms.core.types import AudioSource
from transforms.core.uris import audio_source, file_stamp

T = TypeVar("T")

GRANULARITY = 1024
"""A group has at most 1/1024 of the items before it, so that workers stay busy to the end of a run."""

MAX_GROUP_BYTES = 8 << 20


def grouped(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yields consecutive items in groups that grow: one item each at first, later 1/1024 of the items before.

    So a few items are spread over all workers, and a million make some 8,000 groups.

    Args:
        items: any number of items.
        size_of: returns the bytes of an item; a group ends with the item that makes it 8 MiB.
    """
    group: list[T] = []
    n_before = n_bytes = 0
    for item in items:
        group.append(item)
        n_bytes += size_of(item)
        if len(group) >= max(1, n_before // GRANULARITY) or n_bytes >= MAX_GROUP_BYTES:
            yield group
            n_before += len(group)
            group, n_bytes = [], 0
    if group:
        yield group


@dataclass(frozen=True)
class FileShard:
    """A group of listed files as a work item, small enough that thousands of them fit in memory.

    Attributes:
        n_files: number of files, at least two.
        packed: their paths or URLs, separated by NUL, deflated.
        digest: hash of their names, and of the sizes and times of local files.
    """

    n_files: int
    packed: bytes = field(repr=False)
    digest: str

    def __str__(self) -> str:
        return f"{self.n_files} files, {self.digest}"


def to_work(uris: Sequence[str]) -> AudioSource | FileShard:
    """Returns the work item of a group of files; a single file is a recording."""
    if len(uris) == 1:
        return audio_source(uris[0])
    stamped = "\0".join(f"{uri}\0{file_stamp(uri)}" for uri in uris)
    digest = hashlib.sha256(_encoded(stamped)).hexdigest()[:16]
    return FileShard(len(uris), zlib.compress(_encoded("\0".join(uris))), digest)


def read_files(shard: FileShard) -> Iterator[AudioSource]:
    """Yields the recordings of a group of files."""
    text = zlib.decompress(shard.packed).decode("utf-8", "surrogatepass")
    return map(audio_source, text.split("\0"))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
