"""Tests how lines of manifests become records, and records become values by column."""

from __future__ import annotations

import io

import pytest

from transforms.sources.columns import ColumnError
from transforms.sources.manifest_records import (
    LEGACY_ENCODING,
    MAX_RECORD_LINES,
    Record,
    encoding_of,
    parse_fields,
    parse_json_row,
    parse_row,
    read_records,
    remove_quotes,
)


def read(data: bytes, kind: str) -> list[tuple[int, bytes]]:
    return [(record.number, record.data) for record in read_records(io.BytesIO(data), kind)]


def record(data: bytes) -> Record:
    return Record(1, 0, len(data), data)


def test_blank_lines_and_byte_order_mark_are_not_in_records() -> None:
    data = b"\xef\xbb\xbfa.wav\r\n\n  \nb.wav"
    assert read(data, ".txt") == [(1, b"a.wav\r\n"), (4, b"b.wav")]
    first, last = read_records(io.BytesIO(data), ".txt")
    assert (first.start, first.stop, last.start, last.stop) == (0, 10, 14, 19)


def test_empty_rows_of_a_spreadsheet_are_blank() -> None:
    assert read(b"path,text\n,\r\na.wav,x\n,,,\n;;\n", ".csv") == [(1, b"path,text\n"), (3, b"a.wav,x\n")]
    assert read(b"path\ttext\n\t\na.wav\tx\n", ".tsv") == [(1, b"path\ttext\n"), (3, b"a.wav\tx\n")]
    assert read(b";\n", ".txt") == [(1, b";\n")]


def test_part_of_a_file_keeps_its_numbers_and_offsets() -> None:
    data = b"path\na.wav\nb.wav\nc.wav\n"
    whole = list(read_records(io.BytesIO(data), ".tsv"))
    part = read_records(io.BytesIO(data[whole[2].start :]), ".tsv", whole[2].number, whole[2].start)
    assert list(part) == whole[2:]


def test_newlines_within_quotes_are_in_one_csv_record() -> None:
    data = b'path,text\na.wav,"one\n\ntwo"\nb.wav,x\n'
    assert read(data, ".csv") == [(1, b"path,text\n"), (2, b'a.wav,"one\n\ntwo"\n'), (5, b"b.wav,x\n")]
    assert len(read(data, ".tsv")) == 4


def test_unclosed_quote_is_a_record_of_one_line() -> None:
    data = b'a.wav,"one\nb.wav,"two\nthree"\nc.wav,x\n'
    assert [number for number, _ in read(data, ".csv")] == [1, 2, 4]
    many = b'a.wav,"one\n' + b"b.wav,x\n" * 2 * MAX_RECORD_LINES
    assert len(read(many, ".csv")) == 1 + 2 * MAX_RECORD_LINES


def test_tsv_is_split_at_tabs_whatever_its_quotes() -> None:
    data = b'1\ta.mp3\t"Hello, he said\n2\tb.mp3\t"She said ""no"""\n3\tc.mp3\tx"\n'
    assert [parse_fields(one, ".tsv") for one in read_records(io.BytesIO(data), ".tsv")] == [
        ["1", "a.mp3", '"Hello, he said'],
        ["2", "b.mp3", '"She said ""no"""'],
        ["3", "c.mp3", 'x"'],
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # of the sentence: no writer adds them
        (["a.mp3", '"Yes," he said, "and no."', "1"], ["a.mp3", '"Yes," he said, "and no."', "1"]),
        (["a.mp3", '"Hello."', "1"], ["a.mp3", '"Hello."', "1"]),
        (["a.mp3", '"', ""], ["a.mp3", '"', ""]),
        (["a.mp3", '"Hello, he said', "x"], ["a.mp3", '"Hello, he said', "x"]),
        # of R, pandas and Excel
        (['"a.wav"', '"hello"', "NA"], ["a.wav", "hello", "NA"]),
        (['"a.wav"', '"hello"', "True"], ["a.wav", "hello", "True"]),
        (['"a.wav"', '"hello"', "2021-05-03"], ["a.wav", "hello", "2021-05-03"]),
        (['"Smith, John.wav"', "hello", '"B, C"'], ["Smith, John.wav", "hello", "B, C"]),
        (["a.wav", "hello", '"B, C"'], ["a.wav", "hello", "B, C"]),
        (['"a b.wav"', "hello", '""'], ["a b.wav", "hello", ""]),
        (["a.wav", '"She said ""no"""', ""], ["a.wav", 'She said "no"', ""]),
        (["a.wav", '""', ""], ["a.wav", "", ""]),
    ],
)  # fmt: skip
def test_quotes_of_tsv_are_those_of_a_writer_or_of_the_sentence(
    fields: list[str], expected: list[str]
) -> None:
    row = dict(zip(("path", "text", "note"), fields, strict=True))
    assert list(remove_quotes(row, "path", "text").values()) == expected


def test_newlines_within_quotes_after_a_semicolon() -> None:
    data = b'a.wav;"two\nlines"\n"b";"x"\n'
    found = read_records(io.BytesIO(data), ".csv", delimiter=";")
    assert [one.data for one in found] == [b'a.wav;"two\nlines"\n', b'"b";"x"\n']


def test_only_the_beginning_of_a_too_long_line_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.sources.manifest_records.MAX_LINE_BYTES", 20)
    good, long, last = read_records(io.BytesIO(b"a.wav\n" + b"x" * 5_000_000 + b"\nb.wav\n"), ".txt")
    assert (long.start, long.stop, len(long.data)) == (6, 5_000_007, 21)
    with pytest.raises(ColumnError, match="5000001 bytes; a line has 20 at most"):
        parse_row(long, ".txt", None)
    assert [parse_row(one, ".txt", None) for one in (good, last)] == [{"uri": "a.wav"}, {"uri": "b.wav"}]


@pytest.mark.parametrize(
    ("data", "kind", "header", "expected"),
    [
        (b"a b.wav\r\n", ".txt", None, {"uri": "a b.wav"}),
        (b'{"path": "a.wav", "n": 1}\n', ".jsonl", None, {"path": "a.wav", "n": 1}),
        (b'"a,b.wav","x""y"\n', ".csv", ("path", "text"), {"path": "a,b.wav", "text": 'x"y'}),
        (b"a.wav\t\n", ".tsv", ("path", "text"), {"path": "a.wav", "text": ""}),
        (b"caf\xe9.wav\n", ".txt", None, {"uri": "café.wav"}),
        (b"caf\xe9 \x81.wav\n", ".txt", None, {"uri": "caf\udce9 \udc81.wav"}),
        (b'{"path": "a.wav", "n": 1}\n', ".json", None, {"path": "a.wav", "n": 1}),
    ],
)
def test_values_by_column(
    data: bytes, kind: str, header: tuple[str, ...] | None, expected: dict[str, object]
) -> None:
    assert parse_row(record(data), kind, header) == expected


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        (b"a.wav\n", ".csv", "1 fields, where the header has 2"),
        (b'a.wav,"x\n', ".csv", "not CSV: unexpected end of data; check its quotes"),
        (b"a.wav\tx\ty\n", ".tsv", "3 fields, where the header has 2"),
    ],
)
def test_fields_that_do_not_fit_the_header_are_an_error(data: bytes, kind: str, error: str) -> None:
    with pytest.raises(ColumnError, match=error):
        parse_row(record(data), kind, ("path", "text"))


def test_lines_that_are_not_utf8_are_known() -> None:
    lines = (b"abc", "ü".encode(), b"caf\xe9", b"\x81")
    assert [encoding_of(record(line)) for line in lines] == ["utf-8", "utf-8", LEGACY_ENCODING, None]


def test_fields_of_csv_have_one_delimiter() -> None:
    assert parse_fields(record(b'a,b.wav;"x;y"\n'), ".csv", ";") == ["a,b.wav", "x;y"]


def test_nan_in_json_is_null() -> None:
    assert parse_json_row('{"snr": NaN, "n": [Infinity]}') == {"snr": None, "n": [None]}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"path": ', "not JSON: Expecting value at character 10"),
        ("[1]", r"a JSON object was expected, and not \[1\]"),
        ("[" * 9_999, "not readable as JSON"),
        ('{"n": ' + "9" * 5000 + "}", "not readable as JSON"),
    ],
)
def test_invalid_json_is_an_error(text: str, error: str) -> None:
    with pytest.raises(ColumnError, match=error):
        parse_json_row(text)
