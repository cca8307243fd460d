"""Reader of a finished run's output folder, a few rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.output.run_files import FAILURES, REPORT_FILE, SUCCESS_FILE
from pipelines.output.run_folder import RunFolder
from transforms.core.redaction import redact
from transforms.writing.row_reader import read_rows

Row = Mapping[str, Any]


class NoRunError(ValueError):
    """No finished run in the folder; the message says what was found and what to give instead."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as `open_run` returns it.

    Attributes:
        url: the run's folder.
        report: the content of `run.json`.
    """

    url: str
    report: Mapping[str, Any]

    def file_url(self, name: str) -> str:
        """Returns the URL of a file in the run's folder."""
        return RunFolder(self.url).url_of(name)

    def transcript_files(self) -> list[str]:
        """Returns the files of transcripts in one format: Parquet if present, as it is read by column."""
        return self._files("parquet") or self._files("jsonl")

    def transcripts(self, name: str, columns: Sequence[str]) -> Iterator[Row]:
        """Yields the rows of one of `transcript_files`, sorted by `uri`, with at least these columns."""
        yield from read_rows(self.file_url(name), columns)

    def failures(self) -> Iterator[Row]:
        """Yields the rows of `failures`."""
        for name in self._files(FAILURES):
            yield from read_rows(self.file_url(name))

    def recordings(self) -> Iterator[tuple[str, str]]:
        """Yields `audio_id` and `uri` of every recording; some occur more than once."""
        for name in self.transcript_files():
            yield from map(_named, self.transcripts(name, ("audio_id", "uri")))
        yield from map(_named, self.failures())

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Replaces `run.json`."""
        RunFolder(self.url).write_report(report)

    def _files(self, folder: str) -> list[str]:
        return [name for name in self.report["files"] if name.startswith(f"{folder}/")]


def open_run(url: str) -> FinishedRun:
    """Opens the finished run in a folder.

    Raises:
        NoRunError: the folder has no run, or one that is not finished.
        OSError: the folder cannot be read.
    """
    shown = redact(url)
    folder = RunFolder(url)
    try:
        with folder.open(SUCCESS_FILE):
            pass
        with folder.open(REPORT_FILE) as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoRunError(
            f"--run {shown}: no finished run is there; give the --output of a run, which has "
            f"{SUCCESS_FILE} and {REPORT_FILE} in it once the run is finished"
        ) from error
    except (ImportError, ValueError) as error:  # a scheme whose package is missing, or an unknown scheme
        raise NoRunError(f"--run {shown} cannot be opened: {error}") from error
    try:
        report = json.loads(content)
    except ValueError as error:
        raise NoRunError(f"--run {shown}: its {REPORT_FILE} is not JSON ({error})") from error
    if not isinstance(report, dict) or not {"options", "files"} <= report.keys():
        raise NoRunError(f"--run {shown}: its {REPORT_FILE} was not written by whisper-beam")
    return FinishedRun(url, report)


def _named(row: Row) -> tuple[str, str]:
    return row["audio_id"], row["uri"]
