"""Lines of manifests, and the records that they make: read as they come, whatever is in them."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from transforms.sources.columns import ColumnError, Row

MAX_LINE_BYTES = 16 << 20
"""A line may hold each word of a long recording, with its times."""

MAX_RECORD_LINES = 100
"""Of a record of CSV, whose fields may hold newlines: a quote that nobody closes costs no more than this."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SKIPPED_BYTES = 1 << 20


class Record(NamedTuple):
    """What a manifest says of one recording: a line, or in CSV perhaps a few.

    Attributes:
        number: of its first line, from 1.
        start: its first byte in the file.
        stop: the byte behind its last.
        data: its bytes without a byte order mark; of a line that is too long, the beginning.
    """

    number: int
    start: int
    stop: int
    data: bytes


def records(file: BinaryIO, kind: str, number: int = 1, start: int = 0) -> Iterator[Record]:
    """The records of a file, or of a part of one that begins where a record does; no blank lines.

    Args:
        file: binary, where that part begins; it may end before the file does.
        kind: the manifest's extension.
        number: of the first line.
        start: the first byte's place in the manifest.
    """
    lines = _lines(file, number, start)
    found = _csv_records(lines) if kind == ".csv" else lines
    return (record for record in found if record.data.strip())


def fields_of(record: Record, kind: str) -> list[str]:
    """The fields of a record of `.csv` or `.tsv`.

    Raises:
        ColumnError: it is none.
    """
    text = _text(record)
    if kind == ".tsv":
        return _tab_separated(text)
    try:
        return next(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ColumnError(f"no CSV: {error}; check its quotes") from error


def row_of(record: Record, kind: str, header: tuple[str, ...] | None) -> Row:
    """What a record says, by column.

    Args:
        record: but not the one with the header.
        kind: the manifest's extension.
        header: the names of the columns; None for manifests that have no header.

    Raises:
        ColumnError: it is none of that kind.
    """
    if header is not None:
        fields = fields_of(record, kind)
        if len(fields) != len(header):  # to cut or to fill would lose text without a word
            raise ColumnError(f"{len(fields)} fields, where the header has {len(header)}")
        return dict(zip(header, fields, strict=True))
    text = _text(record)
    return json_row(text) if kind == ".jsonl" else {"uri": text.rstrip("\r\n")}


def _text(record: Record) -> str:
    """A name of a file may be no valid UTF-8: it is kept as the operating system would."""
    if len(record.data) > MAX_LINE_BYTES:
        raise ColumnError(f"{record.stop - record.start} bytes; a line has {MAX_LINE_BYTES} at most")
    return record.data.decode("utf-8", "surrogateescape")


def json_row(text: str) -> Row:
    """A JSON object; what is not a number (NaN) is null.

    Raises:
        ColumnError: it is none.
    """
    try:
        row = json.loads(text, parse_constant=lambda _: None)  # NaN is what pandas writes for nothing
    except json.JSONDecodeError as error:
        raise ColumnError(f"no JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ColumnError(f"no JSON that can be read: {error}") from error
    if not isinstance(row, dict):
        raise ColumnError(f"a JSON object was expected, and not {text.strip()[:40]}")
    return row


def _tab_separated(text: str) -> list[str]:
    """Splits at tabs alone: Common Voice has lone quotes, which a CSV reader takes for many lines."""
    return [_unquoted(field) for field in text.rstrip("\r\n").split("\t")]


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"') if quoted else field


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
    """Joins lines whose newlines are within quotes; a line whose quotes do not end stands alone, as bad."""
    ahead: deque[Record] = deque()
    while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
        if b'"' not in first.data:
            yield first
            continue
        taken = [first]

        def texts(taken: list[Record] = taken) -> Iterator[str]:
            yield taken[0].data.decode("utf-8", "surrogateescape")
            while len(taken) < MAX_RECORD_LINES:
                line = ahead.popleft() if ahead else next(lines, None)
                if line is None:
                    return
                taken.append(line)
                yield line.data.decode("utf-8", "surrogateescape")

        try:
            next(csv.reader(texts(), strict=True))
        except csv.Error:
            ahead.extendleft(reversed(taken[1:]))
            del taken[1:]
        yield Record(first.number, first.start, taken[-1].stop, b"".join(line.data for line in taken))
