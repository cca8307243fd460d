"""Reads the rows of Parquet files with encoded audio or with paths, as in Hugging Face datasets.

Workers read the files with Arrow, one row at a time: the necessary columns and those of text, numbers and
booleans. They need no network except for the file itself.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.errors import AudioError, DatasetError, to_failure
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_source, join
from transforms.fetch.open_audio import open_audio, open_in_place
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.columns import AUDIO_COLUMNS, TEXT_COLUMNS, apply_row, choose_column, get_text
from transforms.sources.trust import check_listed


@dataclass(frozen=True)
class DatasetShard:
    """A Parquet file of a dataset's split as a work item: a small record, which a worker reads.

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
    """Returns the Parquet files of a dataset's split as shards.

    Args:
        name: name of the dataset.
        split: split of the dataset.
        paths: at least one path or URL; all files have the columns of the first.
        audio_column: the column of encoded audio (bytes, or structs of `bytes` and `path`) or of paths; None
            for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched.

    Raises:
        DatasetError: the first file is not Parquet, or has no such column.
    """
    schema = _schema(paths[0], policy)
    audio = _checked_column(schema, name, audio_column, AUDIO_COLUMNS, "--audio_column")
    text = choose_column(schema.names, text_column, TEXT_COLUMNS)
    if text_column is not None:
        text = _checked_column(schema, name, text_column, TEXT_COLUMNS, "--text_column")
    _check_audio_type(schema.field(audio))
    return [DatasetShard(name, split, i, path, audio, text) for i, path in enumerate(paths)]


def read_shard(shard: DatasetShard, policy: FetchPolicy = DEFAULT_POLICY) -> Iterator[AudioSource | Failure]:
    """Yields a shard's recordings in order, one row at a time.

    Yields:
        For a row with audio bytes, a source with `payload`, whose URI consists of the dataset, split, shard,
        row and the audio's own file name if it has one; for a row with only a path, a source to be fetched
        from there; for a row with neither, a source with an empty payload. A row with a forbidden path
        (`transforms.sources.trust`) is a `Failure`, unless the policy trusts the dataset.

    Raises:
        AudioError: with stage `list`, if the file cannot be read to its end.
    """
    try:
        with open_audio(audio_source(shard.path), policy) as file:
            # One row at a time, and buffered page by page: a row may be hours of audio.
            table = pq.ParquetFile(file, buffer_size=1 << 20)
            batches = table.iter_batches(batch_size=1, columns=_columns(shard, table.schema_arrow))
            for index, batch in enumerate(batches):
                yield _checked_source(shard, index, batch, policy.trust_manifests)
    except AudioError as error:
        raise AudioError("list", error.kind, f"{shard.path}: {error.message}", error.retryable) from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        message = f"{shard.path} cannot be read to its end: {error}"
        raise AudioError("list", "corrupt", message, retryable=True) from error


def _columns(shard: DatasetShard, schema: pa.Schema) -> list[str]:
    """Returns the columns to read: the audio, the reference, and all of text, numbers or booleans."""
    needed = (shard.audio_column, shard.text_column)
    return [field.name for field in schema if field.name in needed or _is_scalar(field.type)]


def _is_scalar(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_type(kind)
        for is_type in (
            types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean,
        )
    )  # fmt: skip


def _checked_source(
    shard: DatasetShard, index: int, batch: pa.RecordBatch, trusted: bool
) -> AudioSource | Failure:
    try:
        return _source(shard, index, batch.to_pylist()[0], trusted)
    except AudioError as error:
        return to_failure(audio_source(f"{shard}/{index}"), error)
    except UnicodeDecodeError as error:  # Arrow decodes text only when it is accessed
        invalid = AudioError("list", "bad_row", f"{shard}/{index} holds text that is not UTF-8: {error}")
        return to_failure(audio_source(f"{shard}/{index}"), invalid)


def _source(shard: DatasetShard, index: int, row: Mapping[str, Any], trusted: bool) -> AudioSource:
    audio = row[shard.audio_column]
    if not isinstance(audio, dict):
        audio = {"path": audio} if isinstance(audio, str) else {"bytes": audio}
    payload, path = audio.get("bytes"), audio.get("path")
    reference = get_text(row, shard.text_column)
    if payload is None and path:
        check_listed(path, shard.path, trusted)
        source = audio_source(join(shard.path, path), reference=reference)
    else:
        uri = "/".join([f"{shard}/{index}", *([posixpath.basename(path)] if path else [])])
        source = audio_source(uri, payload or b"", reference)
    return apply_row(source, row, {shard.audio_column, shard.text_column})


def _schema(path: str, policy: FetchPolicy) -> pa.Schema:
    try:
        with open_in_place(audio_source(path), policy) as file:  # the schema is at its end
            return pq.read_schema(file)
    except AudioError as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error.message}") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error


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


def _check_audio_type(field: pa.Field) -> None:
    kind = field.type
    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    plain_types = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    if not names & {"bytes", "path"} and not any(is_type(kind) for is_type in plain_types):
        raise DatasetError(
            f"the column {field.name!r} holds {kind}, where encoded audio was expected: bytes, a struct of "
            "bytes and path, or paths; name another with --audio_column"
        )
