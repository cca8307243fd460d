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
_SKIPPED_BYTES = 1 << 20
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NUMBER = re.compile(r"[\d.eE+-]*")  # or nothing: written without quotes where all texts have them


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


def read_records(file: BinaryIO, kind: str, number: int = 1, start: int = 0) -> Iterator[Record]:
    """Yields the records of a file, or of a part of one that starts with a record, without blank lines.

    Args:
        file: binary, at the start of that part; it may end before the manifest does.
        kind: the manifest's extension.
        number: number of the first line.
        start: offset of the first byte in the manifest.
    """
    lines = _lines(file, number, start)
    found = _csv_records(lines) if kind == ".csv" else lines
    blank = _BLANK + b"," + b";" if kind == ".csv" else _BLANK  # spreadsheets write the fields of empty rows
    return (record for record in found if record.data.strip(blank))


def parse_fields(record: Record, kind: str, delimiter: str = ",") -> list[str]:
    """Returns the fields of a record of `.csv` or `.tsv`.

    Args:
        record: its bytes.
        kind: the manifest's extension.
        delimiter: what is between two fields of `.csv`.

    Raises:
        ColumnError: it is not valid CSV, or a line is too long.
    """
    text = _text(record)
    if kind == ".tsv":
        return _tab_separated(text)
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


def _tab_separated(text: str) -> list[str]:
    """Splits at tabs only: Common Voice has single quotes, which a CSV reader would join with many lines.

    A field in quotes is unquoted if a writer of CSV would have quoted it: it has quotes, doubled, or nothing,
    or all texts of its line are quoted. Other quotes are part of a sentence, and kept.
    """
    fields = text.rstrip("\r\n").split("\t")
    quoted = [_QUOTED.fullmatch(field) is not None for field in fields]
    all_quoted = all(one or _NUMBER.fullmatch(field) for field, one in zip(fields, quoted, strict=True))
    return [
        _unquoted(field) if one and (all_quoted or field == '""' or '""' in field[1:-1]) else field
        for field, one in zip(fields, quoted, strict=True)
    ]


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"')


def _lines(file: BinaryIO, number: int, start: int) -> Iterator[Record]:
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


def _csv_records(lines: Iterator[Record]) -> Iterator[Record]:
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
            next(csv.reader(texts(), strict=True))
        except csv.Error:
            ahead.extendleft(reversed(joined[1:]))
            del joined[1:]
        yield Record(first.number, first.start, joined[-1].stop, b"".join(line.data for line in joined))
