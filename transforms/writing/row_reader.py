"""Reads files of rows again, a few rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import fsspec
import pyarrow.parquet as pq

from transforms.writing.rows import Row

BATCH_ROWS = 256  # rows in memory at a time; the row of a long recording has megabytes


def read_rows(url: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yields the rows of a file that `transforms.writing.sharded_files` wrote.

    Args:
        url: a `.parquet` file, or JSON lines.
        columns: columns that are needed, in Parquet's notation; None for all. JSON lines always have all.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    with fsspec.open(url, "rb") as file:
        if not url.endswith(".parquet"):
            yield from map(json.loads, file)
            return
        # Single-threaded: an Arrow thread that closes a Python file while Python exits aborts Python.
        table = pq.ParquetFile(file, pre_buffer=False)
        wanted = None if columns is None else list(columns)
        for batch in table.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
            yield from batch.to_pylist()
