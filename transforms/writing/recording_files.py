"""A file a recording and format, beside the rows: `DIR/srt/STEM.AUDIO_ID.srt`."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from transforms.core.metrics import count_seconds
from transforms.writing.atomic_files import published
from transforms.writing.filenames import recording_file_name
from transforms.writing.rows import Row
from transforms.writing.subtitles import RENDERERS


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
