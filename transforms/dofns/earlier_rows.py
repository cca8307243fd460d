"""Recordings that are listed twice, and rows of an earlier run whose recordings are not listed any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import Count

from transforms.core.redaction import redact
from transforms.core.types import file_id
from transforms.dofns.counters import BEAM_METRICS
from transforms.writing.row_reader import read_rows
from transforms.writing.rows import Row
from transforms.writing.sharded_files import json_line

_LOGGER = logging.getLogger(__name__)
_EARLIER, _LISTED = "earlier", "listed"


@dataclass
class CountListed(beam.PTransform[PCollection[str], PCollection[Any]]):
    """Counts recordings that are listed more than once, by their audio_ids; they become one row."""

    def expand(self, listed: PCollection[str]) -> PCollection[Any]:
        """Emits nothing."""
        nothing: PCollection[Any] = (
            listed
            | "Count listings" >> Count.PerElement()
            | "Repeated listings" >> beam.FlatMap(_count_repeated)
        )
        return nothing


@dataclass
class CountUnfinished(beam.PTransform[PCollection[str], PCollection[Any]]):
    """Counts recordings that are not finished, by their audio_ids; one that is listed twice counts once."""

    def expand(self, unfinished: PCollection[str]) -> PCollection[Any]:
        """Emits nothing."""
        nothing: PCollection[Any] = (
            unfinished | "Once" >> beam.Distinct() | "Not finished" >> beam.FlatMap(_count_unfinished)
        )
        return nothing


@dataclass
class KeepEarlierRows(beam.PTransform[PCollection[str], PCollection[Row]]):
    """Emits the rows of an earlier run whose recordings are not among those listed, given by their audio_ids.

    Args:
        files: URLs of files of rows, which together have each row at least once; of each file those of the
            same rows in other formats, too, which are read where it is damaged.
    """

    files: Sequence[tuple[str, ...]]

    def expand(self, listed: PCollection[str]) -> PCollection[Row]:
        """Emits each row once."""
        earlier = (
            listed.pipeline
            | "Earlier files" >> beam.Create(list(self.files))
            | "Spread files" >> beam.Reshuffle()
            | "Earlier rows" >> beam.FlatMap(_keyed_rows)
        )
        kept: PCollection[Row] = (
            {_EARLIER: earlier, _LISTED: listed | "Listed files" >> beam.Map(_by_file)}
            | "Group with listing" >> beam.CoGroupByKey()
            | "Rows not listed" >> beam.FlatMap(rows_not_listed)
        )
        return kept


def rows_not_listed(grouped: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Row]:
    """Yields the earlier rows of a file that is not listed, nor the channel that the row is of."""
    name, values = grouped
    listed = set(values[_LISTED])
    if name in listed:  # with all of its channels
        return
    rows: dict[str, bytes] = {}
    for audio_id, line in values[_EARLIER]:
        rows[audio_id] = min(line, rows.get(audio_id, line))
    for audio_id, line in sorted(rows.items()):
        if audio_id not in listed:
            BEAM_METRICS.count("kept")
            yield msgspec.json.decode(line)


def _count_repeated(counted: tuple[str, int]) -> Iterable[Any]:
    BEAM_METRICS.count("duplicates", counted[1] - 1)
    return ()


def _count_unfinished(_: str) -> Iterable[Any]:
    BEAM_METRICS.count("unfinished")
    return ()


def _by_file(audio_id: str) -> tuple[str, str]:
    return file_id(audio_id), audio_id


def _keyed_rows(urls: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, bytes]]]:
    for url in urls:
        try:
            for row in read_rows(url):
                yield file_id(row["audio_id"]), (row["audio_id"], json_line(row))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = redact(" ".join(str(error).split())[:200])
            _LOGGER.warning("%s cannot be read: %s", redact(url), reason)
        else:
            return
    # The rows of recordings that are listed are made anew: damaged files must not end the run.
    BEAM_METRICS.count("earlier_files_damaged")
