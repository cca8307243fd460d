"""Writes rows to sharded files, and each recording to files of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.core.metrics import timed
from transforms.dofns.counters import BEAM_METRICS
from transforms.writing.recording_files import write_recording_files
from transforms.writing.rows import Row
from transforms.writing.sharded_files import json_line, shard_of, write_shard


@dataclass
class WriteRows(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes rows (dicts with `audio_id` and `uri`) to `num_shards` files per format.

    Every shard has a file, even an empty one, so that a reader can see that none is missing. A retried bundle
    replaces its files by the same bytes. A shard is sorted in memory, with each row as a line of JSON: parsed
    it would take ten times as much memory.

    Args:
        folders: the URL of the folder of each format (a key of `WRITERS`); created if it does not exist.
        num_shards: files per format.
    """

    folders: Mapping[str, str]
    num_shards: int = 1

    def expand(self, rows: PCollection[Row]) -> PCollection[str]:
        """Emits the URL of each file, once it is written."""
        names = [_shard_key(shard) for shard in range(self.num_shards)]
        shards = rows.pipeline | "Shards" >> beam.Create([(name, b"") for name in names])
        keyed = rows | "To shard" >> beam.Map(_keyed, self.num_shards)
        files: PCollection[str] = (
            (keyed, shards)
            | "All shards" >> beam.Flatten()
            | "Group shard" >> beam.GroupByKey()
            | "Write shard" >> beam.FlatMap(_write_shard, self.num_shards, dict(self.folders))
        )
        return files


def _shard_key(shard: int) -> str:
    return f"{shard:05d}"


def _keyed(row: Row, num_shards: int) -> tuple[str, bytes]:
    return _shard_key(shard_of(row["audio_id"], num_shards)), json_line(row)


def _write_shard(
    keyed: tuple[str, Iterable[bytes]], num_shards: int, folders: Mapping[str, str]
) -> Iterator[str]:
    key, lines = keyed
    return timed(write_shard(lines, int(key), num_shards, folders), "write", BEAM_METRICS)


@dataclass
class WriteRecordingFiles(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes each row (`transforms.writing.rows.SCHEMA`) as files of its own.

    Workers need no knowledge of other recordings: names are unique (`transforms.writing.filenames`). A
    retried bundle replaces its files by the same bytes.

    Args:
        folder: URL of the folder; a format's files go into its subfolder of the format's name.
        formats: keys of `RENDERERS`.
    """

    folder: str
    formats: tuple[str, ...]

    def expand(self, rows: PCollection[Row]) -> PCollection[str]:
        """Emits the URL of each file, once it is written."""
        files: PCollection[str] = rows | "Write file" >> beam.FlatMap(_write_files, self.folder, self.formats)
        return files


def _write_files(row: Row, folder: str, formats: tuple[str, ...]) -> Iterator[str]:
    return timed(write_recording_files(row, folder, formats), "write", BEAM_METRICS)
