"""Manifests: files that list recordings, and perhaps what was really said in them.

One recording a line: `.jsonl` (an object), `.csv` and `.tsv` (a header first), `.txt` (the URI and nothing
else). The audio is in the first of the columns `audio`, `audio_filepath`, `path`, `uri`, `url`, `file`, `wav`
that is there, the reference in the first of `text`, `sentence`, `transcription`, `transcript`, `reference`, a
prompt in `initial_prompt`, hot words in `hotwords`. Relative paths are relative to the manifest.
Further columns are not read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from transforms.errors import AudioError, ManifestError
from transforms.fetch import open_audio
from transforms.types import AudioSource
from transforms.uris import audio_source, join, suffix

AUDIO_COLUMNS = ("audio", "audio_filepath", "path", "uri", "url", "file", "wav")
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "reference")
PROMPT_COLUMNS = ("initial_prompt",)  # in corpora of read speech, `prompt` is what was to be read
HOTWORDS_COLUMNS = ("hotwords",)
MANIFEST_SUFFIXES = (".jsonl", ".csv", ".tsv", ".txt")

Row = Mapping[str, object]
Rows = Iterator[tuple[int, Row]]
"""Each line's number, from 1, and what it says by column."""


def is_manifest(uri: str) -> bool:
    """Whether the extension is a manifest's."""
    return suffix(uri) in MANIFEST_SUFFIXES


def read_manifest(
    uri: str, audio_column: str | None = None, text_column: str | None = None
) -> Iterator[AudioSource]:
    """Lists a manifest's recordings, line by line; blank lines count for nothing.

    Args:
        uri: a local path or a URL.
        audio_column: the column with the path or URL; None for the first that has a usual name.
        text_column: the column with the reference; None for the first that has a usual name, if any.

    Raises:
        ManifestError: it cannot be read, or a line cannot be used: names file and line.
    """
    if suffix(uri) == ".txt":
        audio_column = text_column = None
    try:
        with open_audio(audio_source(uri)) as file:
            # A name of a file may be no valid UTF-8: it is kept as the operating system would.
            lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            for number, row in _rows(lines, uri):
                yield _source(uri, number, row, audio_column, text_column)
    except AudioError as error:
        raise ManifestError(f"cannot read the manifest {uri}: {error.message}") from error


def choose_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """The column wanted, or else the first that has a usual name; None when it is not there."""
    names = usual if wanted is None else (wanted,)
    return next((name for name in names if name in columns), None)


def _error(uri: str, number: int, what: str) -> ManifestError:
    return ManifestError(f"{uri}, line {number}: {what}")


def _source(
    uri: str, number: int, row: Row, audio_column: str | None, text_column: str | None
) -> AudioSource:
    columns = list(row)
    audio_name = choose_column(columns, audio_column, AUDIO_COLUMNS)
    text_name = choose_column(columns, text_column, TEXT_COLUMNS)
    there = ", ".join(columns)
    if audio_name is None:
        wanted = audio_column or "for the audio"
        raise _error(uri, number, f"no column {wanted} among {there}; name one with --audio_column")
    if text_name is None and text_column is not None:
        raise _error(uri, number, f"no column {text_column} among {there}; name one with --text_column")
    audio = row[audio_name]
    if not isinstance(audio, str) or not audio.strip() or "\0" in audio:
        raise _error(uri, number, f"{audio_name} is {audio!r}, where a path or a URL was expected")
    source = audio_source(join(uri, audio), reference=text_of(row, text_name))
    return with_hints(source, row)


def with_hints(source: AudioSource, row: Row) -> AudioSource:
    """The recording with the prompt and the hot words that its row has, if any."""
    columns = list(row)
    prompt, hotwords = (
        text_of(row, choose_column(columns, None, usual)) for usual in (PROMPT_COLUMNS, HOTWORDS_COLUMNS)
    )
    return replace(source, prompt=prompt or None, hotwords=hotwords or None)  # an empty field is none


def text_of(row: Row, column: str | None) -> str | None:
    """What a column says, as text; None when there is none, or nothing in it."""
    value = None if column is None else row[column]
    return None if value is None else str(value)


def _rows(lines: TextIO, uri: str) -> Rows:
    match suffix(uri):
        case ".txt":
            return ((n, {"uri": line.rstrip("\r\n")}) for n, line in _lines(lines))
        case ".jsonl":
            return ((n, _json_row(uri, n, line)) for n, line in _lines(lines))
        case ".tsv":
            return _table(uri, ((n, _tab_separated(line)) for n, line in _lines(lines)))
        case _:
            return _table(uri, _comma_separated(uri, lines))


def _lines(lines: TextIO) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _json_row(uri: str, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _error(uri, number, f"no JSON: {error}") from error
    if not isinstance(row, dict):
        raise _error(uri, number, f"a JSON object was expected, and not {line.strip()[:40]}")
    return row


def _table(uri: str, records: Iterator[tuple[int, list[str]]]) -> Rows:
    _, header = next(records, (1, []))
    for number, fields in records:
        if len(fields) != len(header):  # to cut or to fill would lose text without a word
            raise _error(uri, number, f"{len(fields)} fields, where the header has {len(header)}")
        yield number, dict(zip(header, fields, strict=True))


def _comma_separated(uri: str, lines: TextIO) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise _error(uri, reader.line_num, f"no CSV: {error}; check its quotes") from error


def _tab_separated(line: str) -> list[str]:
    """Splits at tabs alone: Common Voice has lone quotes, which a CSV reader takes for many lines."""
    return [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"') if quoted else field
