"""Rows into files: sorted, sharded by a stable hash, the same bytes for the same rows.

Beam's own sinks give neither sorted rows nor files on every filesystem of fsspec, so these few lines do.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.metrics import count_seconds
from transforms.writing.atomic_files import published
from transforms.writing.rows import SCHEMA, Row

ROW_GROUP_ROWS = 10_000


def line_of(row: Row) -> bytes:
    """A row of any kind as a line of JSON: UTF-8, nothing escaped that need not be."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_parquet(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes transcript rows as one Parquet file with the nested types of `SCHEMA`, zstd inside.

    Args:
        lines: of `line_of`; those of one row group at a time are unpacked.
        file: to write to.
    """
    rest = iter(lines)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        # `datasets` cannot read a row group without rows, only a file without row groups
        while rows := [msgspec.json.decode(line) for line in itertools.islice(rest, ROW_GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def write_jsonl(lines: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes rows of any kind, which are lines of JSON already."""
    file.writelines(lines)


WRITERS: dict[str, Callable[[Iterable[bytes], IO[bytes]], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}
"""By the name of the format, which is also its files' suffix."""


def shard_of(audio_id: str, num_shards: int) -> int:
    """The shard of a recording, 0 <= shard < num_shards: the same in every run, on every runner."""
    digest = hashlib.sha256(audio_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % num_shards


def part_name(shard: int, num_shards: int, suffix: str) -> str:
    """`part-00000-of-00001.parquet`."""
    return f"part-{shard:05d}-of-{num_shards:05d}.{suffix}"


def _shard_key(shard: int) -> str:
    return f"{shard:05d}"


def _write_shard(
    keyed: tuple[str, Iterable[bytes]], folder: str, formats: Sequence[str], num_shards: int
) -> Iterator[str]:
    started = perf_counter()
    shard, lines = keyed
    ordered = sorted(filter(None, lines), key=_order)
    rows = [row for row, _ in itertools.groupby(ordered)]  # workers that share a bad file each say so
    for name in formats:
        url = f"{folder}/{part_name(int(shard), num_shards, name)}"
        with published(url) as file:
            WRITERS[name](rows, file)
        yield url
    count_seconds("write", perf_counter() - started)


def _order(line: bytes) -> tuple[str, ...]:
    """By place, as people list their recordings; failures of one recording by all there is of them."""
    row = msgspec.json.decode(line)
    told = ("message", "stage", "kind", "retryable", "attempts")
    failure = (repr(row[name]) for name in told if name in row)
    return row["uri"], row["audio_id"], *failure
