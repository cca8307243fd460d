"""A file a recording and format, beside the rows: `DIR/srt/STEM.AUDIO_ID.srt`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.core.metrics import count_seconds
from transforms.writing.atomic_files import published
from transforms.writing.filenames import recording_file_name
from transforms.writing.sharded_files import Row
from transforms.writing.subtitles import RENDERERS


@dataclass
class WriteRecordingFiles(beam.PTransform[PCollection[Row], PCollection[str]]):
    """Writes each row (`transforms.writing.sharded_files.SCHEMA`) as files of its own.

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


def write_recording_files(row: Row, folder: str, formats: tuple[str, ...]) -> Iterator[str]:
    """Writes the files of one row, and gives the URL of each.

    Raises:
        OSError: a file cannot be written.
    """
    started = perf_counter()
    for name in formats:
        url = f"{folder.rstrip('/')}/{name}/{recording_file_name(row['uri'], row['audio_id'], name)}"
        with published(url) as file:
            file.write(RENDERERS[name](row).encode())
        yield url
    count_seconds("write", perf_counter() - started)
