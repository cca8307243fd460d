"""Reads the rows of Parquet and Arrow files with audio or with paths, as in Hugging Face datasets.

Workers read the files with Arrow, one row at a time. They need no network except for the file itself.
"""

from __future__ import annotations

import mmap
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.errors import AudioError, DatasetError, to_failure
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_source, join, suffix
from transforms.fetch.open_audio import open_audio, open_in_place
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.arrow_audio import SAMPLES_FIELD, audio_of, can_be_audio
from transforms.sources.arrow_values import decoded_type, row_values
from transforms.sources.columns import (
    AUDIO_COLUMNS,
    TEXT_COLUMNS,
    ColumnError,
    apply_row,
    choose_column,
    get_text,
)
from transforms.sources.trust import check_listed

ARROW_SUFFIX = ".arrow"
"""Extension of Arrow's streams, which `Dataset.save_to_disk` writes, and of Arrow's files."""

TABLE_SUFFIXES = (".parquet", ARROW_SUFFIX)
"""Extensions of files of rows."""

_ARROW_FILE = b"ARROW1"
_USUAL_AUDIO = (*AUDIO_COLUMNS, SAMPLES_FIELD)


@dataclass(frozen=True)
class DatasetShard:
    """A Parquet or Arrow file of a dataset's split as a work item: a small record, which a worker reads.

    Attributes:
        name: name of the dataset as given; the absolute path of a local one.
        index: index of the file in the split, from 0.
        path: path or URL of the file.
        text_column: the column with the reference; None if there is none.
    """

    name: str
    split: str
    index: int
    path: str
    audio_column: str
    text_column: str | None

    def __str__(self) -> str:
        return f"dataset://{self.name}/{self.split}/{self.index}"


def parquet_shards(
    name: str,
    split: str,
    paths: Sequence[str],
    audio_column: str | None,
    text_column: str | None,
    policy: FetchPolicy = DEFAULT_POLICY,
) -> list[DatasetShard]:
    """Returns the Parquet or Arrow files of a dataset's split as shards.

    Args:
        name: name of the dataset.
        split: split of the dataset.
        paths: at least one path or URL; all files have the columns of the first.
        audio_column: the column of encoded audio (bytes, or structs of `bytes` and `path`), of paths, or of
            samples; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched.

    Raises:
        DatasetError: the first file is not Parquet or Arrow, or has no such column.
    """
    schema = _schema(paths[0], policy)
    audio = _checked_column(schema, name, audio_column, _USUAL_AUDIO, "--audio_column")
    if not can_be_audio(schema.field(audio).type):
        raise DatasetError(
            f"the column {audio!r} holds {schema.field(audio).type}, where audio was expected: bytes, a "
            "struct of bytes and path, paths, or samples; name another with --audio_column"
        )
    flat = [field.name for field in schema if not decoded_type(field.type).num_fields]
    text = choose_column(flat, text_column, TEXT_COLUMNS)
    if text is None and text_column is not None:
        _checked_column(schema, name, text_column, TEXT_COLUMNS, "--text_column")
        raise DatasetError(f"the column {text_column!r} holds {schema.field(text_column).type}, and no text")
    return [DatasetShard(name, split, i, path, audio, text) for i, path in enumerate(paths)]


def read_shard(
    shard: DatasetShard, policy: FetchPolicy = DEFAULT_POLICY, languages: Collection[str] = ()
) -> Iterator[AudioSource | Failure]:
    """Yields a shard's recordings in order, one row at a time.

    Args:
        shard: the file.
        policy: which URIs may be fetched, and which the dataset may contain.
        languages: see `apply_row`.

    Yields:
        For a row with audio bytes or samples, a source with `payload`, whose URI consists of the dataset,
        split, shard, row and the audio's own file name if it has one; for a row with only a path, a source to
        be fetched from there; for a row with neither, a source with an empty payload. A row that cannot be
        used is a `Failure`: samples whose rate is unknown, or a forbidden path (`transforms.sources.trust`),
        unless the policy trusts the dataset.

    Raises:
        AudioError: with stage `list`, if the file cannot be read to its end.
    """
    try:
        with open_audio(audio_source(shard.path), policy) as file:
            for index, row in enumerate(_rows(file, shard)):
                yield _checked_source(shard, index, row, policy.trust_manifests, languages)
    except AudioError as error:
        raise AudioError("list", error.kind, f"{shard.path}: {error.message}", error.retryable) from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        message = f"{shard.path} cannot be read to its end: {error}"
        raise AudioError("list", "corrupt", message, retryable=True) from error


def _rows(file: BinaryIO, shard: DatasetShard) -> Iterator[pa.RecordBatch]:
    """Yields batches of one row: a row may be hours of audio."""
    if suffix(shard.path) == ARROW_SUFFIX:
        reader = _arrow_reader(file)
        _check_has(shard, reader.schema)
        for batch in _batches(reader):
            batch.validate(full=True)  # Arrow would read whatever a damaged offset points to
            yield from (batch.slice(index, 1) for index in range(batch.num_rows))
        return
    table = pq.ParquetFile(file, buffer_size=1 << 20)  # buffered page by page
    _check_has(shard, table.schema_arrow)
    yield from table.iter_batches(batch_size=1)


def _arrow_reader(file: BinaryIO) -> pa.ipc.RecordBatchStreamReader | pa.ipc.RecordBatchFileReader:
    """Returns a reader that maps the file into memory, as a batch may have a thousand recordings."""
    mapped = pa.BufferReader(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    is_file = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _batches(
    reader: pa.ipc.RecordBatchStreamReader | pa.ipc.RecordBatchFileReader,
) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        yield from reader


def _check_has(shard: DatasetShard, schema: pa.Schema) -> None:
    missing = [name for name in (shard.audio_column, shard.text_column) if name not in (None, *schema.names)]
    if missing:
        message = f"it has no column {missing[0]!r}, as the first file of its split has"
        raise AudioError("list", "bad_file", message)


def _checked_source(
    shard: DatasetShard, index: int, row: pa.RecordBatch, trusted: bool, languages: Collection[str]
) -> AudioSource | Failure:
    try:
        return _source(shard, index, row, trusted, languages)
    except AudioError as error:
        return to_failure(audio_source(f"{shard}/{index}"), error)
    except ColumnError as error:
        invalid = AudioError("list", "bad_row", f"{shard}/{index}: {error}")
        return to_failure(audio_source(f"{shard}/{index}"), invalid)
    except UnicodeDecodeError as error:  # Arrow decodes text only when it is accessed
        invalid = AudioError("list", "bad_row", f"{shard}/{index} holds text that is not UTF-8: {error}")
        return to_failure(audio_source(f"{shard}/{index}"), invalid)


def _source(
    shard: DatasetShard, index: int, row: pa.RecordBatch, trusted: bool, languages: Collection[str]
) -> AudioSource:
    audio = audio_of(row, shard.audio_column)
    values, remarks = row_values(row, shard.audio_column, shard.text_column)
    reference = get_text(values, shard.text_column)
    if audio.payload is None and audio.path:
        check_listed(audio.path, shard.path, trusted)
        source = audio_source(join(shard.path, audio.path), reference=reference)
    else:
        uri = "/".join([f"{shard}/{index}", *([posixpath.basename(audio.path)] if audio.path else [])])
        source = audio_source(uri, audio.payload or b"", reference)
    return apply_row(source, values, {shard.text_column}, remarks, languages)


def _schema(path: str, policy: FetchPolicy) -> pa.Schema:
    kind = "Arrow" if suffix(path) == ARROW_SUFFIX else "Parquet"
    try:
        with open_in_place(audio_source(path), policy) as file:  # the schema of Parquet is at its end
            schema = pq.read_schema(file) if kind == "Parquet" else _arrow_schema(file)
            _check_names(schema)
            return schema
    except AudioError as error:
        raise DatasetError(f"{path} cannot be read as {kind}: {error.message}") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as {kind}: {error}") from error


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Raises `UnicodeDecodeError` if a name is not UTF-8, which Arrow decodes only when it is accessed."""
    for field in fields:
        _ = field.name
        if pa.types.is_struct(decoded_type(field.type)):
            _check_names(decoded_type(field.type))


def _arrow_schema(file: BinaryIO) -> pa.Schema:
    is_file = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    file.seek(0)
    return (pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)).schema


def _checked_column(
    schema: pa.Schema, name: str, wanted: str | None, usual: tuple[str, ...], option: str
) -> str:
    column = choose_column(schema.names, wanted, usual)
    if column is None:
        missing = f"column {wanted!r}" if wanted else f"column called {', '.join(usual)}"
        raise DatasetError(
            f"the dataset {name!r} has no {missing}; name one of {', '.join(schema.names)} with {option}"
        )
    return column
