"""Manifests: files that list recordings, optionally with their reference texts.

One recording a line: `.jsonl` and `.json` (an object), `.csv` and `.tsv` (a header first), `.txt` (only the
URI), each also with `.gz` behind it; see `transforms.sources.columns` for the names of columns. Relative
paths are relative to the manifest. Newlines within the quotes of a CSV field are part of it.

The launcher finds only where lines start, so that a manifest may have millions; workers parse them. Lines of
a file that is converted (`transforms.sources.manifest_lines`) are part of the work items. An invalid line
becomes a `Failure`, and does not affect the others.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, dropwhile, takewhile
from operator import itemgetter
from typing import BinaryIO

from transforms.core.errors import AudioError, ManifestError, to_failure
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, audio_source, is_http, is_url, join, suffix
from transforms.fetch.open_audio import open_audio, open_byte_range
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.columns import (
    TEXT_COLUMNS,
    ColumnError,
    Row,
    apply_row,
    choose_column,
    choose_listed_audio,
    get_text,
)
from transforms.sources.file_shards import grouped
from transforms.sources.file_types import manifest_kind
from transforms.sources.line_groups import LineGroup, line_groups, no_part, part_reader
from transforms.sources.listed_files import ListedFiles
from transforms.sources.manifest_lines import MAC_ENCODING, open_lines
from transforms.sources.manifest_records import (
    LEGACY_ENCODING,
    Record,
    encoding_of,
    is_blank,
    joined_records,
    parse_fields,
    parse_row,
    read_lines,
    read_records,
    remove_quotes,
    unquoted,
)
from transforms.sources.row_parts import apply_part
from transforms.sources.trust import check_listed

COMMA, SEMICOLON = ",", ";"
_ENCODING_NAMES = {LEGACY_ENCODING: "Windows-1252", MAC_ENCODING: "Mac Roman"}


@dataclass(frozen=True)
class ManifestShard:
    """Lines of a manifest as a work item: a small record, which a worker reads.

    The lines are consecutive, unless they name parts of one file (`transforms.sources.line_groups`).

    Attributes:
        uri: local path or URL of the manifest.
        number: number of the first line, from 1.
        start: the first byte.
        stop: one past the last byte.
        n_records: number of lines with a recording, valid or not.
        digest: hash of these bytes.
        header: the names of the columns, if the manifest has a header.
        audio_column: the column with the path or URL; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        has_clips: columns such as `start` and `channel` restrict the recording to a part of its file, and are
            not metadata.
        packed: the lines, deflated, where they are not consecutive, or of a manifest that is converted or at
            an `http(s)` URL: the launcher reads it, once.
        delimiter: what is between two fields of `.csv`.
        encoding: the encoding that was guessed for the whole manifest; None if none was.
    """

    uri: str
    number: int
    start: int
    stop: int
    n_records: int
    digest: str
    header: tuple[str, ...] | None = None
    audio_column: str | None = None
    text_column: str | None = None
    has_clips: bool = True
    packed: bytes | None = field(default=None, repr=False)
    delimiter: str = COMMA
    encoding: str | None = None

    def __str__(self) -> str:
        return self.uri


def manifest_shards(
    uri: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    *,
    has_clips: bool = True,
    by_file: bool = True,
) -> Iterator[ManifestShard]:
    """Splits a manifest into shards: of one line at first, so that short ones too are spread over workers.

    Lines that name parts of one file are in one shard, up to an hour of audio, so that it is decoded once
    (`transforms.sources.line_groups`).

    Args:
        uri: a local path or a URL.
        audio_column: the column with the path or URL; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched.
        has_clips: see `ManifestShard`.
        by_file: whether lines that name parts of one file are put together; else all stay in their order.

    Raises:
        ManifestError: it cannot be read, or its first line is invalid.
    """
    kind = _kind_of(uri)
    if kind == ".txt":
        audio_column = text_column = None
    try:
        with open_audio(audio_source(uri), policy) as file:
            lines = open_lines(file, kind)
            header, delimiter, found = _checked(uri, kind, lines.file, audio_column, text_column)
            is_packed = lines.is_converted or is_http(uri)
            part_of = part_reader(kind, header, delimiter, audio_column) if by_file and has_clips else no_part
            for groups in grouped(line_groups(found, part_of), _size_of):
                group = sorted(chain.from_iterable(one.records for one in groups), key=itemgetter(0))
                n_spanned = max(one.last for one in groups) + 1 - min(one.first for one in groups)
                text = _joined(group)
                packed = zlib.compress(text) if is_packed or n_spanned > len(group) else None
                yield ManifestShard(
                    uri, group[0].number, group[0].start, group[-1].stop, len(group), _digest(text), header,
                    audio_column, text_column, has_clips, packed, delimiter, lines.encoding,
                )  # fmt: skip
    except AudioError as error:
        raise ManifestError(f"cannot read the manifest {uri}: {error.message}") from error
    except ColumnError as error:  # of the file, not of a line
        raise ManifestError(f"cannot read the manifest {uri}: {error}") from error


def read_manifest_shard(
    shard: ManifestShard, policy: FetchPolicy = DEFAULT_POLICY, languages: Collection[str] = ()
) -> Iterator[AudioSource | Failure]:
    """Yields the recordings of a shard, line by line; an invalid line is a `Failure`.

    So is a line with a forbidden URI (`transforms.sources.trust`), unless the policy trusts the manifest.

    Args:
        shard: the lines.
        policy: which URIs may be fetched, and which the manifest may contain.
        languages: see `apply_row`.

    Raises:
        AudioError: with stage `list`, if the manifest was changed since it was listed.
    """
    kind = _kind_of(shard.uri)
    files = ListedFiles(shard.uri, shard.header or ())
    for record in _records_of(shard, kind, policy):
        try:
            source, row, used, remarks = _source(shard, record, kind, files, policy.trust_manifests)
            yield apply_row(source, row, used, remarks, languages)
        except ColumnError as error:
            yield _bad_line(shard.uri, record, "bad_line", str(error))
        except AudioError as error:
            yield _bad_line(shard.uri, record, error.kind, error.message)


def read_manifest(
    uri: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
) -> Iterator[AudioSource]:
    """Yields all recordings of a manifest in the order of its lines; for the arguments see `manifest_shards`.

    Raises:
        ManifestError: it cannot be read, or a line is invalid or forbidden; the message has file and line.
    """
    for shard in manifest_shards(uri, audio_column, text_column, policy, by_file=False):
        for source in read_manifest_shard(shard, policy):
            if isinstance(source, Failure):
                raise ManifestError(source.message)
            yield source


def _size_of(group: LineGroup) -> int:
    records = group.records
    return len(records[0].data) if len(records) == 1 else sum(len(record.data) for record in records)


def _kind_of(uri: str) -> str:
    """Returns the extension of a manifest, without `.gz`."""
    return manifest_kind(uri) or suffix(uri)


def _checked(
    uri: str, kind: str, file: BinaryIO, audio_column: str | None, text_column: str | None
) -> tuple[tuple[str, ...] | None, str, Iterator[Record]]:
    """Checks the columns; returns the header, if there is one, the delimiter, and the records after it."""
    lines = dropwhile(lambda line: is_blank(line, kind), read_lines(file))
    line = next(lines, None)
    if line is None:
        return None, COMMA, lines
    delimiter = _delimiter_of(line, audio_column) if kind == ".csv" else COMMA
    found = joined_records(chain([line], lines), kind, delimiter)
    first = next(found)
    try:
        if kind in (".csv", ".tsv"):
            names = parse_fields(first, kind, delimiter)
            header = _unique([str(unquoted(name)) for name in names] if kind == ".tsv" else names)
            _check_columns(header, audio_column, text_column)
            return header, delimiter, found
        row = parse_row(first, kind, None)
        _check_columns(list(row), audio_column, text_column)
        if kind == ".txt":
            _audio_of(row, "uri")
    except ColumnError as error:
        raise ManifestError(f"{uri}:{first.number}: {error}{_advice(kind)}") from error
    return None, COMMA, chain([first], found)


def _delimiter_of(line: Record, audio_column: str | None) -> str:
    """Returns the delimiter of CSV by its first line: semicolons if only these give a column with the audio.

    Excel and R write them where a comma is the decimal point of the country.
    """
    for delimiter in (COMMA, SEMICOLON):
        with suppress(ColumnError):  # quotes before a semicolon are no CSV with commas
            if choose_listed_audio(parse_fields(line, ".csv", delimiter), audio_column) is not None:
                return delimiter
    return COMMA


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Numbers the columns of one name, except the last, which counts: no value is lost."""
    found: dict[str, None] = {}
    for name in reversed(names):
        number, one = 2, name
        while one in found:
            number, one = number + 1, f"{name}_{number}"
        found[one] = None
    return tuple(reversed(found))


def _advice(kind: str) -> str:
    return "; a .json manifest has one object a line, or is one array of objects" if kind == ".json" else ""


def _check_columns(columns: Sequence[str], audio_column: str | None, text_column: str | None) -> None:
    names = ", ".join(columns)
    if choose_listed_audio(columns, audio_column) is None:
        wanted = audio_column or "for the audio"
        raise ColumnError(f"no column {wanted} among {names}; name one with --audio_column")
    if text_column is not None and text_column not in columns:
        raise ColumnError(f"no column {text_column} among {names}; name one with --text_column")


def _source(
    shard: ManifestShard, record: Record, kind: str, files: ListedFiles, trusted: bool
) -> tuple[AudioSource, Row, Collection[str | None], Sequence[str]]:
    """Returns the recording of a line, and what else `apply_row` takes."""
    row = parse_row(record, kind, shard.header, shard.delimiter)
    audio_column = choose_listed_audio(row.keys(), shard.audio_column)
    text_column = choose_column(row.keys(), shard.text_column, TEXT_COLUMNS)
    if audio_column is None:
        _check_columns(list(row), shard.audio_column, None)
        raise AssertionError("a row without an audio column passed the check")
    if kind == ".tsv":
        row = remove_quotes(row, audio_column, text_column)
    encoding = encoding_of(record)
    audio = files.find(_audio_of(row, audio_column), is_legacy=encoding == LEGACY_ENCODING)
    check_listed(audio, shard.uri, trusted)
    source = audio_source(join(shard.uri, audio), reference=get_text(row, text_column))
    if shard.encoding is not None and not record.data.isascii():  # its lines are converted to UTF-8
        encoding = shard.encoding
    remarks, used = _encoding_remarks(encoding), frozenset[str]()
    if shard.has_clips:
        source, used, not_understood = apply_part(source, row)
        remarks += not_understood
    return source, row, {audio_column, text_column, *used}, remarks


def _encoding_remarks(encoding: str | None) -> tuple[str, ...]:
    if encoding == "utf-8":
        return ()
    found = "neither UTF-8 nor Windows-1252: its bytes were kept"
    if encoding is not None:
        found = f"not UTF-8: it was read as {_ENCODING_NAMES[encoding]}"
    return (f"its line is {found}; save the manifest as UTF-8",)


def _audio_of(row: Row, column: str) -> str:
    audio = row[column]
    if not isinstance(audio, str) or not audio.strip() or "\0" in audio:
        raise ColumnError(f"{column} is {repr(audio)[:200]}, where a path or a URL was expected")
    return audio


def _bad_line(uri: str, record: Record, kind: str, message: str) -> Failure:
    line = AudioSource(audio_id_of(uri, f"#line={record.number}"), uri)
    return to_failure(line, AudioError("list", kind, f"{uri}:{record.number}: {message}"))


def _records_of(shard: ManifestShard, kind: str, policy: FetchPolicy) -> list[Record]:
    part = kind, shard.number, shard.start, shard.delimiter
    if shard.packed is not None:
        return list(read_records(io.BytesIO(zlib.decompress(shard.packed)), *part))
    with _open_at(shard, policy) as file:
        after = read_records(file, *part)
        found = list(takewhile(lambda record: record.start < shard.stop, after))
    if not found or _digest(_joined(found)) != shard.digest:
        raise AudioError("list", "changed", f"{shard.uri} was changed while the run read it; start it again")
    return found


@contextmanager
def _open_at(shard: ManifestShard, policy: FetchPolicy) -> Iterator[BinaryIO]:
    """Opens the manifest at the shard's first byte; of a remote one, only the shard's bytes are fetched."""
    if is_url(shard.uri):
        with open_byte_range(shard.uri, (shard.start, shard.stop), policy) as file:
            yield file
        return
    with open_audio(audio_source(shard.uri), policy) as file:
        file.seek(shard.start)
        yield file


def _joined(group: Sequence[Record]) -> bytes:
    """Returns the lines of records, with the empty lines between them, so that line numbers stay the same."""
    number, parts = group[0].number, []
    for record in group:
        parts.append(b"\n" * (record.number - number))
        parts.append(record.data if record.data.endswith(b"\n") else record.data + b"\n")
        number = record.number + parts[-1].count(b"\n")
    return b"".join(parts)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
