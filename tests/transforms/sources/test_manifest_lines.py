from __future__ import annotations

import codecs
import gzip
import io
import json
import os

import pytest

from transforms.sources.columns import ColumnError
from transforms.sources.manifest_lines import open_lines

TEXT = 'path\ttext\na.wav\t"ü €"\n'


def read(data: bytes, kind: str = ".tsv") -> bytes:
    lines = open_lines(io.BytesIO(data), kind)
    assert lines.is_converted
    return lines.file.read()


def test_plain_file_is_read_in_place() -> None:
    for data, kind in ((TEXT.encode(), ".tsv"), (b'{"path": "a.wav"}\n', ".json"), (b"a.wav", ".txt")):
        file = io.BytesIO(data)
        assert open_lines(file, kind) == (file, False, None)
        assert file.read() == data


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TEXT.encode()),
        gzip.compress(TEXT[:9].encode()) + gzip.compress(TEXT[9:].encode()) + bytes(512),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r").encode(),
        gzip.compress(TEXT.replace("\n", "\r").encode("utf-16")),
    ],
    ids=["gzip", "members", "utf-16-le", "utf-16-be", "carriage-returns", "all"],
)
def test_other_files_become_lines_of_utf8(data: bytes) -> None:
    assert read(data) == TEXT.encode()


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        ("a.wav,schöne Grüße\r", "mac_roman", "mac_roman"), ("a.wav,élève “là”\r", "mac_roman", "mac_roman"),
        ("a.wav,schöne Grüße\r", "cp1252", None), ("a.wav,schöne Grüße\r", "utf-8", None),
        ("a.wav,b\r", "utf-8", None),
    ],
)  # fmt: skip
def test_encoding_of_lines_that_end_with_carriage_returns(
    text: str, encoding: str, guessed: str | None
) -> None:
    lines = open_lines(io.BytesIO(text.encode(encoding)), ".csv")
    assert lines.encoding == guessed
    expected = text.replace("\r", "\n")
    assert lines.file.read() == (expected.encode() if guessed else expected.encode(encoding))


def test_long_files_are_unpacked_in_blocks() -> None:
    text = b"".join(f"{n}/{os.urandom(8).hex()}.wav\n".encode() for n in range(50_000))
    lines = open_lines(io.BytesIO(gzip.compress(text)), ".txt")
    assert lines.file.read(10) == text[:10]
    assert lines.file.read() == text[10:]


@pytest.mark.parametrize("packed", [False, True])
def test_array_becomes_a_line_an_item(packed: bool) -> None:
    rows = [{"path": "a ü.wav", "n": [1, {"x": "]"}]}, {"path": "b\n.wav"}, 7]
    for indent in (None, 2):
        data = b"\xef\xbb\xbf \n" + json.dumps(rows, indent=indent, ensure_ascii=False).encode() + b"\n"
        found = read(gzip.compress(data) if packed else data, ".json").splitlines()
        assert [json.loads(line) for line in found] == rows
    assert read(b"[]", ".json") == b""


def test_bytes_in_an_array_are_kept() -> None:
    assert read(b'[{"path": "caf\xe9.wav"}]', ".json") == b'{"path": "caf\xe9.wav"}\n'


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'[{"path": "a.wav"}, {"path": ]', "not JSON: its item that begins in line 1: Expecting value"),
        (b'[{"path": "a.wav"}\n{"path": "b.wav"}]', "',' or ']' was expected in line 2"),
        (b'[{"path": "a.wav"}', "',' or ']' was expected in line 1"),
        (b'[{"path": "a.wav"}]\n[{"path": "b.wav"}]', "not JSON: more text after the array, in line 1"),
        (b"[" * 99_999, "not JSON: its item that begins in line 1"),
    ],
)
def test_invalid_array_is_an_error(data: bytes, error: str) -> None:
    with pytest.raises(ColumnError, match=error):
        read(data, ".json")


def test_array_has_a_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.sources.manifest_lines.MAX_ARRAY_BYTES", 1 << 20)
    with pytest.raises(ColumnError, match=r"more than 1 MiB; write one object a line \(\.jsonl\)"):
        read(b"[" + b"0," * (1 << 20) + b"0]", ".json")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (gzip.compress(TEXT.encode())[:-9], "cannot be unpacked to its end: it was cut short"),
        (b"\x1f\x8b\x08\0\0", "cannot be unpacked to its end"),
        (b"\x1f\x8b\xff" + bytes(9), "cannot be unpacked: "),
        (TEXT.encode("utf-16")[:-1], "cannot be decoded as UTF-16: .*; save it as UTF-8"),
    ],
    ids=["cut short", "header cut short", "unknown flags", "half a character"],
)
def test_what_cannot_be_unpacked_or_decoded_is_an_error(data: bytes, error: str) -> None:
    with pytest.raises(ColumnError, match=error):
        read(data)


def test_decompression_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.sources.manifest_lines.FREE_BYTES", 1 << 20)
    with pytest.raises(ColumnError, match="it may be a decompression bomb"):
        read(gzip.compress(bytes(8 << 20)))
