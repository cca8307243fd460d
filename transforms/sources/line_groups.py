"""Lines of a manifest that name parts of one file, put together so that a worker decodes the file once.

The launcher looks only at the columns of the file and of the part, and decides nothing else by them: a line
that it cannot read is one by itself, and a worker says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
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
"""Lines that are looked at together, so that those of a file need not be neighbours: 2 MB."""

MIN_MEAN_LINES = 8
"""Lines of a file among these, on average, from which on they are put together."""

_PART_COLUMNS = (*START_END, OFFSET)
_QUOTED_COLUMNS = tuple(f'"{name}"'.encode() for name in _PART_COLUMNS)


class LinePart(NamedTuple):
    """The part that a line names: what identifies its file, its start and its length in seconds."""

    file: Hashable
    start_s: float
    length_s: float


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


class _Line(NamedTuple):
    number: int
    record: Record
    part: LinePart | None


def line_groups(records: Iterable[Record], part_of: PartOf) -> Iterator[LineGroup]:
    """Yields all records, those that name parts of one file together.

    In a list of many parts for each file, these are put together among `N_AHEAD` records, as the list may be
    shuffled. Elsewhere only neighbours are: groups of others would be many, and take space.

    Args:
        records: the records of a manifest, in order.
        part_of: see `part_reader`.
    """
    lines = (_Line(number, record, part_of(record)) for number, record in enumerate(records))
    for line in lines:
        if line.part is None:
            yield LineGroup([line.record], line.number, line.number)
            continue
        for together in _of_one_file([line, *islice(lines, N_AHEAD - 1)]):
            for group in _limited(together):
                numbers = [one.number for one in group]
                yield LineGroup([one.record for one in group], min(numbers), max(numbers))


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
    files = {line.part.file for line in ahead if line.part is not None}
    n_parts = sum(line.part is not None for line in ahead)
    if n_parts < MIN_MEAN_LINES * len(files):
        return (list(lines) for _, lines in groupby(ahead, key=_file_or_number))
    by_file: dict[Hashable, list[_Line]] = {}
    for line in ahead:
        by_file.setdefault(_file_or_number(line), []).append(line)
    return by_file.values()


def _file_or_number(line: _Line) -> Hashable:
    return line.number if line.part is None else (line.part.file,)


def _limited(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Yields the lines of a file, by the start of their parts, in groups within the limits."""
    group: list[_Line] = []
    seconds = 0.0
    for line in sorted(lines, key=_start_s):
        if len(group) == MAX_LINES or seconds >= MAX_AUDIO_S:
            yield group
            group, seconds = [], 0.0
        group.append(line)
        seconds += 0.0 if line.part is None else line.part.length_s
    yield group


def _start_s(line: _Line) -> float:
    return 0.0 if line.part is None else line.part.start_s


def _json_decoder(audio: Sequence[str]) -> tuple[Callable[[bytes], Any], int]:
    """Returns a decoder of these columns and those of parts alone, and the number of the former."""
    names = [*audio, *(name for name in (*_PART_COLUMNS, DURATION) if name not in audio)]
    fields = [(f"column_{number}", Any, None) for number in range(len(names))]
    renamed = {field: name for (field, _, _), name in zip(fields, names, strict=True)}
    line = msgspec.defstruct("Line", fields, rename=renamed)
    return msgspec.json.Decoder(line).decode, len(audio)


def _part_of_object(decode: Callable[[bytes], Any], n_audio: int, record: Record) -> LinePart | None:
    if not any(name in record.data for name in _QUOTED_COLUMNS):
        return None
    try:
        values = msgspec.structs.astuple(decode(record.data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    file = next((name for name in values[:n_audio] if isinstance(name, str)), None)
    return _part(file, values[n_audio:])


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
    file, *times = (None if at is None or at >= len(fields) else fields[at] for at in columns)
    return _part(file, times)


def _part(file: Hashable, times: Sequence[object]) -> LinePart | None:
    """Returns the part of a file by its start, end, offset and duration, as they are in a line."""
    start_s, end_s, offset_s, length_s = map(_seconds, times)
    if not file or start_s is end_s is offset_s is None:
        return None
    from_s = next((one for one in (start_s, offset_s) if one is not None), 0.0)
    if end_s is not None:
        length_s = end_s - from_s
    return LinePart(file, from_s, length_s if length_s is not None and length_s > 0 else UNKNOWN_S)


def _seconds(value: Any) -> float | None:  # noqa: ANN401  # a value of JSON
    """Returns a finite number; None if it is none, or written in another way."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None
