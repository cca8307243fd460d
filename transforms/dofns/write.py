"""Writes rows to sharded files, and each recording to files of its own."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.writing.recording_files import write_recording_files
from transforms.writing.rows import Row
from transforms.writing.sharded_files import _shard_key, _write_shard, line_of, shard_of


@dataclass
class WriteRows(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes rows (dicts with `audio_id` and `uri`) to `num_shards` files a format.

    Every shard's file is there in the end, empty or not, so that a reader can see that none is missing.
    A retried bundle replaces its files by the same bytes. A shard is sorted in memory, a row as a line of
    JSON: unpacked it would take ten times as much.

    Args:
        folder: URL of the folder; made if there is none.
        formats: keys of `WRITERS`.
    """

    folder: str
    formats: tuple[str, ...]
    num_shards: int = 1

    def expand(self, rows: PCollection[Row]) -> PCollection[str]:
        """Gives the URL of each file, once it is written."""
        names = [_shard_key(shard) for shard in range(self.num_shards)]
        shards = rows.pipeline | "Shards" >> beam.Create([(name, b"") for name in names])
        keyed = rows | "To shard" >> beam.Map(_keyed, self.num_shards)
        files: PCollection[str] = (
            (keyed, shards)
            | "All shards" >> beam.Flatten()
            | "Group shard" >> beam.GroupByKey()
            | "Write shard" >> beam.FlatMap(_write_shard, self.folder, self.formats, self.num_shards)
        )
        return files


def _keyed(row: Row, num_shards: int) -> tuple[str, bytes]:
    return _shard_key(shard_of(row["audio_id"], num_shards)), line_of(row)


@dataclass
class WriteRecordingFiles(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes each row (`transforms.writing.rows.SCHEMA`) as files of its own.

    No worker need know of another recording: names are unique (`transforms.writing.filenames`), and a
    retried bundle replaces its files by the same bytes.

    Args:
        folder: URL of the folder; a format's files go into the folder in it that is called like the format.
        formats: keys of `RENDERERS`.
    """

    folder: str
    formats: tuple[str, ...]

    def expand(self, rows: PCollection[Row]) -> PCollection[str]:
        """Gives the URL of each file, once it is written."""
        files: PCollection[str] = rows | "Write file" >> beam.FlatMap(
            write_recording_files, self.folder, self.formats
        )
        return files
