"""Values of Arrow columns as text, numbers, lists and objects, as they stand in JSON."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Collection, Mapping
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.sources.manifest_records import LEGACY_ENCODING

MAX_VALUE_BYTES = 1 << 16
"""Of a value that is no text: beyond it is a second audio, a spectrogram or an image, left out of rows."""


def row_values(
    row: pa.RecordBatch, audio: str, text: str | None
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Returns the values of a row by column, those that JSON has, and the others as text; and remarks.

    Args:
        row: a batch of one row.
        audio: the column with the audio, which is left out.
        text: the column with the reference, in which bytes are text, in Windows-1252 if they are not UTF-8;
            None if there is none.

    Raises:
        UnicodeDecodeError: a text is not UTF-8.
    """
    values: dict[str, object] = {}
    remarks: tuple[str, ...] = ()
    for name, column in zip(row.schema.names, map(decoded, row.columns), strict=True):
        if name == text and is_binary_type(column.type):
            values[name], remarks = _reference(name, column[0].as_py())
        elif name != audio:
            values[name] = value_of(column)
    return values, remarks


def value_of(column: pa.Array) -> object:
    """Returns the value of a column with a single row.

    Dates and times are written as in ISO 8601, in UTC if their zone is unknown; durations in seconds,
    decimals digit by digit; bytes as text if they are UTF-8, else as Base64. Of more than 64 KiB that are no
    text, only the size is kept.

    Raises:
        UnicodeDecodeError: a text is not UTF-8.
    """
    column = decoded(column)
    if is_text_type(column.type):
        return column[0].as_py()
    if (n_bytes := _n_bytes(column)) > MAX_VALUE_BYTES:
        return f"left out: {n_bytes:,} bytes of {column.type}"
    try:
        return _plain(column[0].as_py())
    except UnicodeDecodeError:
        raise
    except (KeyError, ValueError, OverflowError, ImportError, pa.ArrowException):
        return _as_arrow_writes_it(column)  # a time or a zone (KeyError) that Python does not have


def decoded(column: pa.Array) -> pa.Array:
    """Returns a column without encodings: categories, runs and extension types become their values."""
    while True:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        elif isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        else:
            return column


def decoded_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type that a column has once it is decoded."""
    while True:
        if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a type is text, of any layout."""
    return _is_one_of(kind, ("string", "large_string", "string_view"))


def is_binary_type(kind: pa.DataType) -> bool:
    """Whether a type is bytes, of any layout."""
    return _is_one_of(kind, ("binary", "large_binary", "binary_view", "fixed_size_binary"))


def is_list_type(kind: pa.DataType) -> bool:
    """Whether a type is a list, of any layout."""
    return _is_one_of(kind, ("list", "large_list", "fixed_size_list", "list_view", "large_list_view"))


def _is_one_of(kind: pa.DataType, names: Collection[str]) -> bool:
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _n_bytes(column: pa.Array) -> int:
    try:
        return int(column.nbytes)
    except (pa.ArrowException, NotImplementedError):  # it cannot measure views
        return len(column[0].as_py() or b"") if is_binary_type(column.type) else 0


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return _text_of(value)
        case Mapping():
            return {str(name): _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case np.generic():  # a float of 16 bits
            return value.item()
        case _:
            return str(value)


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _reference(name: str, value: bytes | None) -> tuple[str | None, tuple[str, ...]]:
    """Returns a reference, decoded as the lines of manifests are, and remarks."""
    if value is None:
        return None, ()
    with suppress(UnicodeDecodeError):
        return value.decode(), ()
    with suppress(UnicodeDecodeError):
        return value.decode(LEGACY_ENCODING), (f"{name} is not UTF-8: it was read as Windows-1252",)
    remark = f"{name} is neither UTF-8 nor Windows-1252: its bytes were kept"
    return value.decode("utf-8", "surrogateescape"), (remark,)


def _as_arrow_writes_it(column: pa.Array) -> str:
    if pa.types.is_timestamp(column.type) and not _is_known_zone(column.type.tz):
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))  # as it is stored
    try:
        return str(column.cast(pa.string())[0].as_py())
    except pa.ArrowException as error:
        return f"left out: {column.type}, {error}"


def _is_known_zone(zone: str | None) -> bool:
    try:
        pa.scalar(0, pa.timestamp("s", zone)).as_py()
    except (KeyError, ValueError, pa.ArrowException):
        return False
    return True
