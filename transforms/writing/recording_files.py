"""Writes one file for each recording and format, beside the rows: `DIR/srt/STEM.AUDIO_ID.srt`."""

from __future__ import annotations

from collections.abc import Iterator

from transforms.writing.atomic_files import atomic_write
from transforms.writing.filenames import recording_file_name
from transforms.writing.rows import Row
from transforms.writing.subtitles import RENDERERS


def write_recording_files(row: Row, folder: str, formats: tuple[str, ...]) -> Iterator[str]:
    """Writes the files of one row, and yields the URL of each.

    Raises:
        OSError: a file cannot be written.
    """
    for name in formats:
        url = f"{folder.rstrip('/')}/{name}/{recording_file_name(row['uri'], row['audio_id'], name)}"
        with atomic_write(url) as file:
            file.write(RENDERERS[name](row).encode())
        yield url
