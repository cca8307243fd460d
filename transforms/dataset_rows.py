"""Rows of Hugging Face datasets whose Parquet files hold encoded audio, read without torch.

The `datasets` library says which Parquet files make up a split (the Hub's pinned to a revision), once and in
the launcher. Workers read those files with Arrow: only the columns needed, a row at a time, and no network
but for the file itself. The library's own `Audio` feature wants torch as soon as the data is not Parquet, and
its streams would ask the Hub again on each worker.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AudioError, DatasetError
from transforms.manifests import (
    AUDIO_COLUMNS,
    HOTWORDS_COLUMNS,
    PROMPT_COLUMNS,
    TEXT_COLUMNS,
    choose_column,
    text_of,
    with_hints,
)
from transforms.types import AudioSource
from transforms.uris import audio_source, is_url, join


@dataclass(frozen=True)
class DatasetShard:
    """A Parquet file of a dataset's split: small, to be shipped to the worker that reads it.

    Attributes:
        name: the dataset, as named; a local one by its absolute path.
        index: the file's place in the split, from 0.
        path: the file, local or a URL.
        text_column: where the reference is; None when there is none.
    """

    name: str
    split: str
    index: int
    path: str
    audio_column: str
    text_column: str | None

    def __str__(self) -> str:
        return f"dataset://{self.name}/{self.split}/{self.index}"


def dataset_shards(
    name: str, split: str, audio_column: str | None = None, text_column: str | None = None
) -> list[DatasetShard]:
    """Lists the shards of a dataset's split.

    Args:
        name: a local folder or Parquet file, or a name on the Hub; `NAME:CONFIG` where that has several.
        split: a name, such as `train`; one file alone is whatever split is asked for.
        audio_column: the column of encoded audio (bytes, or structs of `bytes` and `path`) or of paths; None
            for the first that has a usual name.
        text_column: the column with the reference; None for the first that has a usual name, if any.

    Raises:
        DatasetError: no such dataset, split or column, or one that is not in Parquet.
    """
    if os.path.exists(name):
        name = os.path.abspath(name)
    paths = [name] if os.path.isfile(name) else _split_paths(name, split)
    schema = _schema(paths[0])
    audio = _checked_column(schema, name, audio_column, AUDIO_COLUMNS, "--audio_column")
    text = choose_column(schema.names, text_column, TEXT_COLUMNS)
    if text_column is not None:
        text = _checked_column(schema, name, text_column, TEXT_COLUMNS, "--text_column")
    _check_audio_type(schema.field(audio))
    return [DatasetShard(name, split, i, path, audio, text) for i, path in enumerate(paths)]


def read_shard(shard: DatasetShard) -> Iterator[AudioSource]:
    """Reads a shard's recordings in order, a row at a time.

    Yields:
        A source with `payload`, and a URI made of the dataset, split, shard, row and the audio's own file
        name if it has one; for rows with a path and no bytes, a source to be fetched from there. A row with
        neither has an empty payload.

    Raises:
        AudioError: with stage `list`, when the file cannot be read (on).
    """
    try:
        with _open(shard.path) as file:
            # A row at a time and pages as they come: a row may be hours of audio.
            table = pq.ParquetFile(file, buffer_size=1 << 20)
            batches = table.iter_batches(batch_size=1, columns=_columns(shard, table.schema_arrow))
            for index, batch in enumerate(batches):
                yield _source(shard, index, batch.to_pylist()[0])
    except FileNotFoundError as error:
        raise AudioError("list", "not_found", f"no such shard: {shard.path}") from error
    except (OSError, pa.ArrowException) as error:
        message = f"{shard.path} cannot be read on: {error}"
        raise AudioError("list", "corrupt", message, retryable=True) from error


def _columns(shard: DatasetShard, schema: pa.Schema) -> list[str]:
    """What is read of a row: its audio, its reference, and what may be heard, where there is a column."""
    hints = (choose_column(schema.names, None, usual) for usual in (PROMPT_COLUMNS, HOTWORDS_COLUMNS))
    return [column for column in (shard.audio_column, shard.text_column, *hints) if column is not None]


def _source(shard: DatasetShard, index: int, row: Mapping[str, Any]) -> AudioSource:
    audio = row[shard.audio_column]
    if not isinstance(audio, dict):
        audio = {"path": audio} if isinstance(audio, str) else {"bytes": audio}
    payload, path = audio.get("bytes"), audio.get("path")
    reference = text_of(row, shard.text_column)
    if payload is None and path:
        return with_hints(audio_source(join(shard.path, path), reference=reference), row)
    uri = "/".join([f"{shard}/{index}", *([posixpath.basename(path)] if path else [])])
    return with_hints(audio_source(uri, payload or b"", reference), row)


def _split_paths(name: str, split: str) -> list[str]:
    import datasets  # slow to import, and workers need it not

    path, _, config = (name, "", "") if os.path.exists(name) else name.partition(":")
    try:
        builder = datasets.load_dataset_builder(path, config or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DatasetError(
            f"cannot open the dataset {name!r}: {error}; --dataset takes a local folder or Parquet file, or "
            "a name on the Hub (NAME:CONFIG where it has several)"
        ) from error
    files = {str(key): list(paths) for key, paths in (builder.config.data_files or {}).items()}
    if builder.name != "parquet":
        raise DatasetError(
            f"the dataset {name!r} is made of {builder.name} files and not of Parquet; name its audio files "
            "with --input, or convert it"
        )
    if split not in files:
        raise DatasetError(f"the dataset {name!r} has no split {split!r}; there are {', '.join(files)}")
    return files[split]


def _schema(path: str) -> pa.Schema:
    try:
        with _open(path) as file:
            return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error


def _checked_column(
    schema: pa.Schema, name: str, wanted: str | None, usual: tuple[str, ...], option: str
) -> str:
    column = choose_column(schema.names, wanted, usual)
    if column is None:
        what = f"column {wanted!r}" if wanted else f"column called {', '.join(usual)}"
        raise DatasetError(
            f"the dataset {name!r} has no {what}; name one of {', '.join(schema.names)} with {option}"
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


def _open(path: str) -> BinaryIO:
    return cast(BinaryIO, fsspec.open(path, "rb").open() if is_url(path) else open(path, "rb"))
