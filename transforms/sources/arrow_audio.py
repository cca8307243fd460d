"""The audio of a row: the bytes of a file, a path, or samples that were decoded already."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from transforms.core.errors import AudioError
from transforms.sources.arrow_values import (
    decoded,
    decoded_type,
    is_binary_type,
    is_list_type,
    is_text_type,
    value_of,
)
from transforms.sources.sample_arrays import SampleArrayError, pcm_writer

RATE_COLUMNS = ("sampling_rate", "sample_rate")
"""Columns, or fields beside the samples, with their samples per second."""

SAMPLES_FIELD = "array"
"""The field of decoded samples, as `datasets` names it."""


@dataclass(frozen=True)
class RowAudio:
    """The audio of a row.

    Attributes:
        payload: the bytes of a file; of samples, a file of PCM. None if there are none.
        path: path or URL of the file, or only its name; None if there is none.
    """

    payload: bytes | None = None
    path: str | None = None


def can_be_audio(kind: pa.DataType) -> bool:
    """Whether a column of this type may have audio: bytes, paths, samples, or structs of these."""
    kind = decoded_type(kind)
    if pa.types.is_struct(kind):
        return bool({field.name for field in kind} & {"bytes", "path", SAMPLES_FIELD})
    return is_binary_type(kind) or is_text_type(kind) or _holds_samples(kind)


def audio_of(row: pa.RecordBatch, name: str) -> RowAudio:
    """Returns the audio in a column of a batch of one row.

    Raises:
        AudioError: with stage `list` and kind `bad_row`: samples of an unknown rate, or no audio.
    """
    column = decoded(row.column(name))
    kind = column.type
    if pa.types.is_struct(kind):
        payload, path = _value(column, "bytes"), _value(column, "path")
        if payload is None and SAMPLES_FIELD in _fields(kind):
            payload = _pcm(row, name, decoded(pc.struct_field(column, SAMPLES_FIELD)), _rate_in(column))
        return RowAudio(payload, path)
    if _holds_samples(kind):
        return RowAudio(_pcm(row, name, column, None))
    value = column[0].as_py()
    match value:
        case str():
            return RowAudio(path=value)
        case bytes() | None:
            return RowAudio(value)
    raise AudioError("list", "bad_row", f"the column {name!r} holds {kind}, where audio was expected")


def _fields(kind: pa.StructType) -> set[str]:
    return {field.name for field in kind}


def _value(column: pa.StructArray, field: str) -> Any:  # noqa: ANN401  # of any type, as the file has it
    if field not in _fields(column.type):
        return None
    return decoded(pc.struct_field(column, field))[0].as_py()


def _rate_in(column: pa.StructArray) -> object:
    return next((rate for field in RATE_COLUMNS if (rate := _value(column, field)) is not None), None)


def _holds_samples(kind: pa.DataType) -> bool:
    """Whether a type is a list of numbers, or a list of such lists, a list a channel."""
    if not is_list_type(kind):
        return False
    inner = decoded_type(kind.value_type)
    if is_list_type(inner):
        inner = decoded_type(inner.value_type)
    return bool(pa.types.is_floating(inner) or pa.types.is_integer(inner))


def _pcm(row: pa.RecordBatch, name: str, column: pa.Array, rate: object) -> bytes | None:
    """Returns samples as a file of PCM; None if there are none.

    Raises:
        AudioError: see `audio_of`.
    """
    if pa.types.is_null(column.type):
        return None
    if not _holds_samples(column.type):
        raise AudioError("list", "bad_row", f"{name} holds {column.type}, where samples were expected")
    if column.null_count or not len(column.flatten()):
        return None
    if rate is None:
        columns = (one for one in RATE_COLUMNS if one in row.schema.names)
        rate = next((found for one in columns if (found := value_of(row.column(one))) is not None), None)
    if rate is None:
        raise AudioError(
            "list", "bad_row",
            f"{name} holds samples without their rate: add a column sampling_rate, in samples per second",
        )  # fmt: skip
    file = io.BytesIO()
    try:
        pcm_writer(_array(column), rate)(file)
    except SampleArrayError as error:
        raise AudioError("list", "bad_row", f"{name}: {error}") from error
    return file.getvalue()


def _array(lists: pa.Array) -> NDArray[Any]:
    """Returns the samples [n] or [channels, n] of a single row, without Python objects of each.

    Raises:
        SampleArrayError: the lists of the channels differ in length, or integers are missing.
    """
    values = lists.flatten()
    shape = [-1]
    if is_list_type(values.type):
        lengths = set(pc.list_value_length(values).to_pylist())
        if len(lengths) > 1:
            raise SampleArrayError(f"the lists of its channels differ in length: {sorted(map(str, lengths))}")
        shape = [len(values), -1]
        values = values.flatten()
    if values.null_count and pa.types.is_integer(values.type):
        raise SampleArrayError(f"{values.null_count:,} of its {len(values):,} samples are missing")
    array: NDArray[Any] = np.asarray(values.to_numpy(zero_copy_only=False))
    return array.reshape(shape) if array.size else array
