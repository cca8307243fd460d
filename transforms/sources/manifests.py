"""Manifests: files that list recordings, optionally with their reference texts.

One recording a line: `.jsonl` (an object), `.csv` and `.tsv` (a header first), `.txt` (only the URI); see
`transforms.sources.columns` for the names of columns. Relative paths are relative to the manifest. A line
ends with a newline; newlines within the quotes of a CSV field are part of it.

The launcher finds only where lines start, so that a manifest may have millions; workers parse them. An
invalid line becomes a `Failure`, and does not affect the others.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import BinaryIO

from transforms.core.errors import AudioError, ManifestError, to_failure
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, audio_source, is_http, is_url, join, suffix
from transforms.fetch.open_audio import open_audio, open_byte_range
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.columns import (
    AUDIO_COLUMNS,
    TEXT_COLUMNS,
    ColumnError,
    Row,
    apply_clip,
    apply_row,
    check_language,
    choose_column,
    get_text,
)
from transforms.sources.file_shards import grouped
from transforms.sources.manifest_records import Record, parse_fields, parse_row, read_records
from transforms.sources.trust import check_listed


@dataclass(frozen=True)
class ManifestShard:
    """Consecutive lines of a manifest as a work item: a small record, which a worker reads.

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
        has_clips: columns such as `start` restrict the recording to a part of its file, and are not metadata.
        packed: the lines, deflated, of a manifest at an `http(s)` URL: the launcher fetches it, once.
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

    def __str__(self) -> str:
        return self.uri


def manifest_shards(
    uri: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    *,
    has_clips: bool = True,
) -> Iterator[ManifestShard]:
    """Splits a manifest into shards: of one line at first, so that short ones too are spread over workers.

    Args:
        uri: a local path or a URL.
        audio_column: the column with the path or URL; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched.
        has_clips: see `ManifestShard`.

    Raises:
        ManifestError: it cannot be read, or its first line is invalid.
    """
    kind = suffix(uri)
    if kind == ".txt":
        audio_column = text_column = None
    try:
        with open_audio(audio_source(uri), policy) as file:
            found = read_records(file, kind)
            header, found = _checked(uri, kind, found, audio_column, text_column)
            for group in grouped(found, lambda record: len(record.data)):
                text = _joined(group)
                yield ManifestShard(
                    uri, group[0].number, group[0].start, group[-1].stop, len(group), _digest(text), header,
                    audio_column, text_column, has_clips, zlib.compress(text) if is_http(uri) else None,
                )  # fmt: skip
    except AudioError as error:
        raise ManifestError(f"cannot read the manifest {uri}: {error.message}") from error


def read_manifest_shard(
    shard: ManifestShard, policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[AudioSource | Failure]:
    """Yields the recordings of a shard, line by line; an invalid line is a `Failure`.

    So is a line with a forbidden URI (`transforms.sources.trust`), unless the policy trusts the manifest.

    Raises:
        AudioError: with stage `list`, if the manifest was changed since it was listed.
    """
    kind = suffix(shard.uri)
    for record in _records_of(shard, kind, policy):
        try:
            yield _source(shard, parse_row(record, kind, shard.header), policy.trust_manifests)
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
    """Yields all recordings of a manifest; for the arguments see `manifest_shards`.

    Raises:
        ManifestError: it cannot be read, or a line is invalid or forbidden; the message has file and line.
    """
    for shard in manifest_shards(uri, audio_column, text_column, policy):
        for source in read_manifest_shard(shard, policy):
            if isinstance(source, Failure):
                raise ManifestError(source.message)
            yield source


def _checked(
    uri: str, kind: str, found: Iterator[Record], audio_column: str | None, text_column: str | None
) -> tuple[tuple[str, ...] | None, Iterator[Record]]:
    """Checks the columns; returns the header, if there is one, and the records after it."""
    first = next(found, None)
    if first is None:
        return None, found
    try:
        _check_encoding(first.data)
        if kind in (".csv", ".tsv"):
            header = tuple(parse_fields(first, kind))
            _check_columns(header, audio_column, text_column)
            return header, found
        row = parse_row(first, kind, None)
        _check_columns(list(row), audio_column, text_column)
        if kind == ".txt":
            _audio_of(row, "uri")
    except ColumnError as error:
        raise ManifestError(f"{uri}:{first.number}: {error}") from error
    return None, chain([first], found)


def _check_encoding(data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ColumnError("begins like UTF-16; save it as UTF-8")


def _check_columns(columns: Sequence[str], audio_column: str | None, text_column: str | None) -> None:
    names = ", ".join(columns)
    if choose_column(columns, audio_column, AUDIO_COLUMNS) is None:
        wanted = audio_column or "for the audio"
        raise ColumnError(f"no column {wanted} among {names}; name one with --audio_column")
    if text_column is not None and text_column not in columns:
        raise ColumnError(f"no column {text_column} among {names}; name one with --text_column")


def _source(shard: ManifestShard, row: Row, trusted: bool) -> AudioSource:
    audio_column = choose_column(row.keys(), shard.audio_column, AUDIO_COLUMNS)
    text_column = choose_column(row.keys(), shard.text_column, TEXT_COLUMNS)
    if audio_column is None:
        _check_columns(list(row), shard.audio_column, None)
        raise AssertionError("a row without an audio column passed the check")
    check_language(row)
    audio = _audio_of(row, audio_column)
    check_listed(audio, shard.uri, trusted)
    source = audio_source(join(shard.uri, audio), reference=get_text(row, text_column))
    used = frozenset[str]()
    if shard.has_clips:
        source, used = apply_clip(source, row)
    return apply_row(source, row, {audio_column, text_column, *used})


def _audio_of(row: Row, column: str) -> str:
    audio = row[column]
    if not isinstance(audio, str) or not audio.strip() or "\0" in audio:
        raise ColumnError(f"{column} is {repr(audio)[:200]}, where a path or a URL was expected")
    return audio


def _bad_line(uri: str, record: Record, kind: str, message: str) -> Failure:
    line = AudioSource(audio_id_of(uri, f"#line={record.number}"), uri)
    return to_failure(line, AudioError("list", kind, f"{uri}:{record.number}: {message}"))


def _records_of(shard: ManifestShard, kind: str, policy: FetchPolicy) -> list[Record]:
    if shard.packed is not None:
        return list(read_records(io.BytesIO(zlib.decompress(shard.packed)), kind, shard.number, shard.start))
    with _open_at(shard, policy) as file:
        after = read_records(file, kind, shard.number, shard.start)
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
