"""Lines of a manifest that name parts of one file, put together so that a worker decodes the file once.

The launcher looks only at the columns of the file and of the part, and decides nothing else by them: a line
that it cannot read is one by itself, and a worker says what is wrong with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from transforms.core.types import AudioSource, Failure
from transforms.sources.columns import AUDIO_COLUMNS, FILE_NAME_COLUMN, ColumnError
from transforms.sources.manifest_records import JSON_KINDS, Record, parse_fields
from transforms.sources.row_parts import DURATION, OFFSET, START_END

MAX_LINES = 1024
MAX_AUDIO_S = 3600.0
"""Lines and seconds of audio of a file in a group, at most: as much as a worker transcribes in minutes."""

UNKNOWN_S = 30.0
"""Seconds that a part is taken to have whose line does not say it."""

N_AHEAD = 8192
"""Lines that are looked at together, so that those of a file need not be neighbours; they take 6 MB."""

MIN_MEAN_LINES = 8
"""Lines of a file among these, on average, from which on they are put together."""

_PART_COLUMNS = (*START_END, OFFSET)
_NO_PART = (None,) * len(_PART_COLUMNS)
_HAS_PART = re.compile(f'"(?:{"|".join(_PART_COLUMNS)})"'.encode()).search


class LinePart(NamedTuple):
    """The part that a line names.

    Attributes:
        file: identifies the file.
        times: start, end, offset and duration, as they are in the line; None for those that are not.
    """

    file: Hashable
    times: Sequence[object]

    def seconds(self) -> tuple[float, float]:
        """Returns the start of the part, and its length or a guess."""
        start_s, end_s, offset_s, length_s = map(_seconds, self.times)
        from_s = next((one for one in (start_s, offset_s) if one is not None), 0.0)
        if end_s is not None:
            length_s = end_s - from_s
        return from_s, length_s if length_s is not None and length_s > 0 else UNKNOWN_S


PartOf = Callable[[Record], LinePart | None]
"""Returns the part of a file that a line names; None for a whole file, and if it is not clear."""


class LineGroup(NamedTuple):
    """A record of a manifest, or several that name parts of one file.

    Attributes:
        records: in the order of their parts.
        first: how many records of the manifest come before the first of them.
        last: how many come before the last of them.
    """

    records: list[Record]
    first: int
    last: int


_Line = tuple[int, Record, LinePart | None]
"""A record with its number; no class, as a manifest may have millions."""


def line_groups(records: Iterable[Record], part_of: PartOf) -> Iterator[LineGroup]:
    """Yields all records, those that name parts of one file together.

    In a list of many parts for each file, these are put together among `N_AHEAD` records, as the list may be
    shuffled. Elsewhere only neighbours are: groups of others would be many, and take space.

    Args:
        records: the records of a manifest, in order.
        part_of: see `part_reader`.
    """
    lines = ((number, record, part_of(record)) for number, record in enumerate(records))
    for line in lines:
        if line[2] is None:
            yield LineGroup([line[1]], line[0], line[0])
            continue
        for together in _of_one_file([line, *islice(lines, N_AHEAD - 1)]):
            if len(together) == 1:
                number, record, _ = together[0]
                yield LineGroup([record], number, number)
                continue
            for group in _limited(together):
                numbers = [number for number, _, _ in group]
                yield LineGroup([record for _, record, _ in group], min(numbers), max(numbers))


def in_reading_order(found: Iterable[AudioSource | Failure]) -> Iterator[AudioSource | Failure]:
    """Returns sources in their order, but parts of one file together, by their start."""
    items = list(found)
    first: dict[str, int] = {}  # place of each file

    def place(number: int) -> tuple[int, float, int]:
        one = items[number]
        if isinstance(one, Failure) or (one.start_s is None and one.end_s is None):
            return number, 0.0, number
        return first.setdefault(one.uri, number), one.start_s or 0.0, number

    return (items[number] for number in sorted(range(len(items)), key=place))


def part_reader(kind: str, header: Sequence[str] | None, delimiter: str, audio_column: str | None) -> PartOf:
    """Returns a function that tells the part of a file that a line names, fast rather than in all cases.

    Args:
        kind: the manifest's extension.
        header: the names of the columns, if it has a header.
        delimiter: what is between two fields of `.csv`.
        audio_column: the column with the file; None for the first with a usual name.
    """
    audio = (*AUDIO_COLUMNS, FILE_NAME_COLUMN) if audio_column is None else (audio_column,)
    if kind in JSON_KINDS:
        return partial(_part_of_object, *_json_decoder(audio))
    if header is not None:
        columns = [next((header.index(name) for name in audio if name in header), None)]
        columns += [header.index(name) if name in header else None for name in (*_PART_COLUMNS, DURATION)]
        if columns[0] is not None and any(column is not None for column in columns[1:-1]):
            return partial(_part_of_fields, kind, delimiter, columns)
    return no_part


def no_part(_: Record) -> None:
    """The part that a line names, of a manifest without parts of files: none."""


def _of_one_file(ahead: list[_Line]) -> Iterable[list[_Line]]:
    """Returns lines that name parts of one file together, others by themselves, by their first line."""
    files = [part.file for _, _, part in ahead if part is not None]
    if len(files) < MIN_MEAN_LINES * len(set(files)):
        return _neighbours(ahead)
    by_file: dict[Hashable, list[_Line]] = {}
    for number, record, part in ahead:
        key = number if part is None else (part.file,)
        by_file.setdefault(key, []).append((number, record, part))
    return by_file.values()


def _neighbours(ahead: list[_Line]) -> Iterator[list[_Line]]:
    last: LinePart | None = None
    group: list[_Line] = []
    for line in ahead:
        part = line[2]
        if group and (part is None or last is None or part.file != last.file):
            yield group
            group = []
        group.append(line)
        last = part
    yield group


def _limited(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Yields the lines of a file, by the start of their parts, in groups within the limits."""
    timed = [(*part.seconds(), line) for line in lines if (part := line[2]) is not None]
    group: list[_Line] = []
    total_s = 0.0
    for _, length_s, line in sorted(timed, key=itemgetter(0)):
        if len(group) == MAX_LINES or total_s >= MAX_AUDIO_S:
            yield group
            group, total_s = [], 0.0
        group.append(line)
        total_s += length_s
    yield group


def _json_decoder(audio: Sequence[str]) -> tuple[Callable[[bytes], Any], int]:
    """Returns a decoder of these columns and those of parts alone, and the number of the former."""
    names = [*audio, *(name for name in (*_PART_COLUMNS, DURATION) if name not in audio)]
    fields = [(f"column_{number}", Any, None) for number in range(len(names))]
    renamed = {field: name for (field, _, _), name in zip(fields, names, strict=True)}
    line = msgspec.defstruct("Line", fields, rename=renamed)
    return msgspec.json.Decoder(line).decode, len(audio)


def _part_of_object(decode: Callable[[bytes], Any], n_audio: int, record: Record) -> LinePart | None:
    if _HAS_PART(record.data) is None:
        return None
    try:
        values = msgspec.structs.astuple(decode(record.data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    times = values[n_audio:]
    for file in values[:n_audio]:
        if isinstance(file, str):
            return None if times[:-1] == _NO_PART else LinePart(file, times)
    return None


def _part_of_fields(
    kind: str, delimiter: str, columns: Sequence[int | None], record: Record
) -> LinePart | None:
    fields: Sequence[str | bytes]
    if kind == ".csv" and b'"' in record.data:
        try:
            fields = parse_fields(record, kind, delimiter)
        except ColumnError:
            return None
    else:
        fields = record.data.rstrip(b"\r\n").split(b"\t" if kind == ".tsv" else delimiter.encode())
    file, *times = [None if at is None or at >= len(fields) else fields[at] for at in columns]
    return LinePart(file, times) if file and any(times[:-1]) else None


def _seconds(value: Any) -> float | None:  # noqa: ANN401  # a value of JSON
    """Returns a finite number; None if it is none, or written in another way."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None
