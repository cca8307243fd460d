"""Writes rows to files: sorted, sharded by a stable hash, the same bytes for the same rows.

Beam's own sinks neither sort rows nor write to every filesystem of fsspec.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.writing.atomic_files import atomic_write
from transforms.writing.rows import SCHEMA, Row

ROW_GROUP_ROWS = 10_000


def json_line(row: Row) -> bytes:
    """Returns a row of any kind as a line of JSON: UTF-8, with the necessary escapes only."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_parquet(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes transcript rows as one Parquet file with the nested types of `SCHEMA`, compressed with zstd.

    Args:
        lines: rows by `json_line`; one row group at a time is decoded.
        file: the file to write to.
    """
    rest = iter(lines)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        # `datasets` cannot read a row group without rows, only a file without row groups
        while rows := [msgspec.json.decode(line) for line in itertools.islice(rest, ROW_GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def write_jsonl(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes rows of any kind, given as lines of JSON."""
    file.writelines(lines)


WRITERS: dict[str, Callable[[Iterable[bytes], IO[bytes]], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}
"""Writers by the name of the format, which is also the suffix of its files."""


def shard_of(audio_id: str, num_shards: int) -> int:
    """Returns the shard of a recording, 0 <= shard < num_shards: the same in every run, on every runner."""
    digest = hashlib.sha256(audio_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % num_shards


def part_name(shard: int, num_shards: int, suffix: str) -> str:
    """Returns the name of a shard's file, such as `part-00000-of-00001.parquet`."""
    return f"part-{shard:05d}-of-{num_shards:05d}.{suffix}"


def write_shard(
    lines: Iterable[bytes], shard: int, num_shards: int, folders: Mapping[str, str]
) -> Iterator[str]:
    """Writes the rows of one shard, sorted, each row once, and yields the URL of each file.

    Args:
        lines: rows by `json_line`; empty ones are ignored.
        shard: its number, 0 <= shard < num_shards.
        num_shards: shards of each format.
        folders: the URL of the folder of each format.

    Raises:
        OSError: a file cannot be written.
    """
    ordered = sorted(filter(None, lines), key=_sort_key)
    # Each worker that reads a range of a broken file reports the same failure.
    rows = [row for row, _ in itertools.groupby(ordered)]
    for name, folder in folders.items():
        url = f"{folder}/{part_name(shard, num_shards, name)}"
        with atomic_write(url) as file:
            WRITERS[name](rows, file)
        yield url


def _sort_key(line: bytes) -> tuple[str, ...]:
    """Returns the URI and audio_id of a row; for failures of one recording, their other columns too."""
    row = msgspec.json.decode(line)
    columns = ("message", "stage", "kind", "retryable", "attempts")
    failure = (repr(row[name]) for name in columns if name in row)
    return row["uri"], row["audio_id"], *failure
