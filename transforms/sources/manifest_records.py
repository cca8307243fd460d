"""Reads the lines of manifests as records, and parses records into columns."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from transforms.sources.columns import ColumnError, Row

JSON_KINDS = (".jsonl", ".json")

MAX_LINE_BYTES = 16 << 20
"""A line may contain each word of a long recording, with its times."""

MAX_RECORD_LINES = 100
"""Lines of a CSV record, whose fields may contain newlines: the limit for a quote that is not closed."""

LEGACY_ENCODING = "cp1252"
"""Encoding of lines that are not UTF-8: what Windows calls ANSI in Western Europe and America."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\v\f"
_BLANK_CSV = _BLANK + b",;"
_SKIPPED_BYTES = 1 << 20
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


class Record(NamedTuple):
    """The bytes of one row of a manifest: a line, or in CSV possibly several.

    Attributes:
        number: number of its first line, from 1.
        start: its first byte in the file.
        stop: one past its last byte.
        data: its bytes without a byte order mark; only the beginning of a line that is too long.
    """

    number: int
    start: int
    stop: int
    data: bytes


def read_records(
    file: BinaryIO, kind: str, number: int = 1, start: int = 0, delimiter: str = ","
) -> Iterator[Record]:
    """Yields the records of a file, or of a part of one that starts with a record, without blank lines.

    Args:
        file: binary, at the start of that part; it may end before the manifest does.
        kind: the manifest's extension.
        number: number of the first line.
        start: offset of the first byte in the manifest.
        delimiter: what is between two fields of `.csv`.
    """
    return joined_records(read_lines(file, number, start), kind, delimiter)


def joined_records(lines: Iterator[Record], kind: str, delimiter: str = ",") -> Iterator[Record]:
    """Yields the records that lines make, without blank ones; for the arguments see `read_records`."""
    found = _csv_records(lines, delimiter) if kind == ".csv" else lines
    return (record for record in found if not is_blank(record, kind))


def is_blank(record: Record, kind: str) -> bool:
    """Whether a record has nothing but space; in CSV, also one of empty fields, as of spreadsheets."""
    return not record.data.strip(_BLANK_CSV if kind == ".csv" else _BLANK)


def parse_fields(record: Record, kind: str, delimiter: str = ",") -> list[str]:
    """Returns the fields of a record of `.csv` or `.tsv`; those of `.tsv` with their quotes.

    `.tsv` is split at tabs only: Common Voice has single quotes, which a CSV reader would join with many
    lines. See `remove_quotes`.

    Args:
        record: its bytes.
        kind: the manifest's extension.
        delimiter: what is between two fields of `.csv`.

    Raises:
        ColumnError: it is not valid CSV, or a line is too long.
    """
    text = _text(record)
    if kind == ".tsv":
        return text.rstrip("\r\n").split("\t")
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ColumnError(f"not CSV: {error}; check its quotes") from error


def parse_row(record: Record, kind: str, header: tuple[str, ...] | None, delimiter: str = ",") -> Row:
    """Returns the values of a record, by column.

    Args:
        record: any but the header.
        kind: the manifest's extension.
        header: the names of the columns; None for manifests without a header.
        delimiter: see `parse_fields`.

    Raises:
        ColumnError: it is not valid in that format.
    """
    if header is not None:
        fields = parse_fields(record, kind, delimiter)
        if len(fields) != len(header):  # truncating or padding would lose text silently
            raise ColumnError(f"{len(fields)} fields, where the header has {len(header)}")
        return dict(zip(header, fields, strict=True))
    text = _text(record)
    return parse_json_row(text) if kind in JSON_KINDS else {"uri": text.rstrip("\r\n")}


def _text(record: Record) -> str:
    """Decodes a record; bytes that no encoding has are decoded as those of file names (PEP 383)."""
    if len(record.data) > MAX_LINE_BYTES:
        raise ColumnError(f"{record.stop - record.start} bytes; a line has {MAX_LINE_BYTES} at most")
    return record.data.decode(encoding_of(record) or "utf-8", "surrogateescape")


def encoding_of(record: Record) -> str | None:
    """Returns the encoding of a record, UTF-8 or Windows-1252; None if it is neither."""
    for encoding in ("utf-8", LEGACY_ENCODING):
        try:
            record.data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None


def parse_json_row(text: str) -> Row:
    """Returns a JSON object; NaN and infinity become None.

    Raises:
        ColumnError: it is not a JSON object.
    """
    try:
        row = json.loads(text, parse_constant=lambda _: None)  # pandas writes NaN for a missing value
    except json.JSONDecodeError as error:
        raise ColumnError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:  # thousands of digits or brackets
        raise ColumnError(f"not readable as JSON: {error}") from error
    if not isinstance(row, dict):
        raise ColumnError(f"a JSON object was expected, and not {text.strip()[:40]}")
    return row


def remove_quotes(row: Row, audio_column: str, text_column: str | None) -> Row:
    """Returns the values of a line of `.tsv` without the quotes that its writer added.

    The quotes of a reference may be those of its sentence, as in Common Voice. They are its writer's if the
    name of the file is in quotes too, if quotes within them are doubled, or if there is nothing within them.
    """
    text = None if text_column is None else row[text_column]
    is_sentence = isinstance(text, str) and text != '""' and '""' not in text[1:-1]
    kept = text_column if is_sentence and unquoted(row[audio_column]) == row[audio_column] else None
    return {name: value if name == kept else unquoted(value) for name, value in row.items()}


def unquoted(field: object) -> object:
    """Returns a field without the quotes around it; any other unchanged."""
    if not isinstance(field, str) or not field.startswith('"') or _QUOTED.fullmatch(field) is None:
        return field
    return field[1:-1].replace('""', '"')


def read_lines(file: BinaryIO, number: int = 1, start: int = 0) -> Iterator[Record]:
    """Yields each line, blank or not, as a record; for the arguments see `read_records`."""
    while data := file.readline(MAX_LINE_BYTES + 1):
        n_bytes = len(data)
        if n_bytes > MAX_LINE_BYTES and not data.endswith(b"\n"):
            n_bytes += _skip_line(file)
        yield Record(number, start, start + n_bytes, data if start else data.removeprefix(_BYTE_ORDER_MARK))
        number, start = number + 1, start + n_bytes


def _skip_line(file: BinaryIO) -> int:
    n_bytes = 0
    while data := file.readline(_SKIPPED_BYTES):
        n_bytes += len(data)
        if data.endswith(b"\n"):
            break
    return n_bytes


def _csv_records(lines: Iterator[Record], delimiter: str) -> Iterator[Record]:
    """Joins lines whose newlines are within quotes; a line with an unclosed quote is an invalid record."""
    ahead: deque[Record] = deque()
    while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
        if b'"' not in first.data:
            yield first
            continue
        joined = [first]

        def texts(joined: list[Record] = joined) -> Iterator[str]:
            yield joined[0].data.decode("utf-8", "surrogateescape")
            while len(joined) < MAX_RECORD_LINES:
                line = ahead.popleft() if ahead else next(lines, None)
                if line is None:
                    return
                joined.append(line)
                yield line.data.decode("utf-8", "surrogateescape")

        try:
            next(csv.reader(texts(), delimiter=delimiter, strict=True))
        except csv.Error:
            ahead.extendleft(reversed(joined[1:]))
            del joined[1:]
        yield Record(first.number, first.start, joined[-1].stop, b"".join(line.data for line in joined))
