"""Parts of files that the rows of a manifest name: a range of time, and a channel."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from transforms.core.types import AudioSource, media_fragment, of_channel
from transforms.core.uris import audio_id_of
from transforms.sources.columns import ColumnError, Row

START_END = ("start", "end")
OFFSET = "offset"  # NeMo's
DURATION = "duration"  # without a start after 0 or an offset, that of the file
CHANNEL_COLUMNS = ("channel", "channel_id", "channel_selector")  # Lhotse, Kaldi and NeMo

MAX_CHANNEL = 63
MAX_START_S = 100 * 3600
"""No longer file is read: a later start is a time of day or a date in seconds, and no time in the file."""

_CHANNEL_NAMES = {"left": 0, "right": 1, "l": 0, "r": 1, **{name: n for n, name in enumerate("abcdefgh")}}
_ALL_CHANNELS = ("mix", "mono", "average", "mean", "both", "all")
_CLOCK = re.compile(r"(-?)(?:(\d{1,4}):)?(\d{1,5}):([0-5]?\d(?:[.,]\d*)?)", re.ASCII)
"""Normal play time of W3C media fragments, `[h:]m:s`; its fraction may follow a comma, as in SRT files."""


class RowPart(NamedTuple):
    """The part of a file that a row names.

    Attributes:
        source: the recording.
        used: columns that were used, and are no metadata.
        remarks: what was not understood.
    """

    source: AudioSource
    used: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


class _NotUnderstoodError(Exception):
    """A value is of another kind than its column usually has; the message says what was expected."""


def apply_part(source: AudioSource, row: Row) -> RowPart:
    """Restricts a recording to the range of time and the channel that its row names.

    Raises:
        ColumnError: see `apply_clip`.
    """
    clip = apply_clip(source, row)
    channel = apply_channel(clip.source, row)
    return RowPart(channel.source, clip.used | channel.used, clip.remarks + channel.remarks)


def apply_clip(source: AudioSource, row: Row) -> RowPart:
    """Restricts a recording to a part of its file.

    The part is `start` and `end`, `start` and `duration`, or `offset` and `duration`: seconds, or `[h:]m:s`.
    Values that are no time, such as a date, restrict nothing. A duration after a `start` may be unknown (-1,
    0); after a `start` of 0 it is that of the file.

    Raises:
        ColumnError: a time is negative, or the end is not after the start.
    """
    used: frozenset[str] = frozenset()
    remarks: list[str] = []
    for columns, start, end in ((START_END, *START_END), ((OFFSET,), OFFSET, None)):
        if not any(name in row for name in columns):
            continue
        try:
            start_s, end_s, named = _range_of(row, columns, start, end)
        except _NotUnderstoodError as error:
            remarks.append(f"{error}: it is kept as metadata, and restricts the recording to no part")
            continue
        used |= named
        if start_s and end_s is None and end is not None:
            length_s = _length_after_start(row, remarks)
            if length_s is not None:
                end_s = start_s + length_s
                used |= {DURATION}
        if start_s is None and end_s is None:
            continue
        if end_s is not None and end_s <= (start_s or 0.0):
            raise ColumnError(f"ends at {end_s:g} s, which is not after its start at {start_s or 0:g} s")
        start_s = start_s or None  # a file starts at 0 anyway
        audio_id = audio_id_of(source.uri, media_fragment(start_s, end_s))
        part = replace(source, audio_id=audio_id, start_s=start_s, end_s=end_s)
        return RowPart(part, used, tuple(remarks))
    return RowPart(source, used, tuple(remarks))


def _range_of(
    row: Row, columns: Collection[str], start: str, end: str | None
) -> tuple[float | None, float | None, frozenset[str]]:
    """Returns start and end in seconds, and the columns that say so."""
    start_s = _seconds(row, start)
    if start_s is not None and start_s > MAX_START_S:
        raise _not_a_time(row, start)
    if end is not None:
        return start_s, _seconds(row, end), frozenset(columns)
    length_s = _seconds(row, DURATION)
    if length_s is None:
        return start_s, None, frozenset(columns)
    return start_s, (start_s or 0.0) + length_s, frozenset((*columns, DURATION))


def _length_after_start(row: Row, remarks: list[str]) -> float | None:
    """Returns the duration in seconds, more than 0; None if it is unknown, with a remark if it is given."""
    try:
        length_s = _seconds(row, DURATION)
    except (ColumnError, _NotUnderstoodError):
        length_s = 0.0
    if length_s == 0:
        remarks.append(
            f"{_not_a_time(row, DURATION)}: it is kept as metadata, and the part ends with its file"
        )
        return None
    return length_s


def apply_channel(source: AudioSource, row: Row) -> RowPart:
    """Restricts a recording to a channel of its file, with the id that it has where channels are split.

    The first of `CHANNEL_COLUMNS` that names a channel counts: a number from 0 on, also alone in a list, as
    Lhotse and NeMo have it, or `A` and `B` (Kaldi), `left` and `right`. Other values restrict nothing.
    """
    remarks: list[str] = []
    for column in CHANNEL_COLUMNS:
        if row.get(column) in (None, ""):
            continue
        try:
            channel = _channel(row, column)
        except _NotUnderstoodError as error:
            remarks.append(f"{error}: it is kept as metadata, and chooses no channel")
            continue
        part = source if channel is None else of_channel(source, channel)
        return RowPart(part, frozenset((column,)), tuple(remarks))
    return RowPart(source, remarks=tuple(remarks))


def _channel(row: Row, column: str) -> int | None:
    """Returns the channel, from 0; None for a mix of all."""
    value = row[column]
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, str):
        name = value.strip().lower()
        if name in _ALL_CHANNELS:
            return None
        value = _CHANNEL_NAMES.get(name, int(name) if re.fullmatch(r"\d{1,2}", name, re.ASCII) else name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value in range(MAX_CHANNEL + 1):
        return int(value)
    raise _NotUnderstoodError(
        f"{column} is {_shown(row[column])}, where a channel was expected: 0 to {MAX_CHANNEL}, or A or B"
    )


def _seconds(row: Row, column: str) -> float | None:
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    seconds = _as_seconds(value)
    if seconds < 0:
        raise ColumnError(f"{column} is {_shown(value)}, where seconds, 0 or more, were expected")
    if not seconds < math.inf:  # NaN too
        raise _not_a_time(row, column)
    return seconds


def _not_a_time(row: Row, column: str) -> _NotUnderstoodError:
    return _NotUnderstoodError(f"{column} is {_shown(row[column])}, where seconds or h:mm:ss were expected")


def _as_seconds(value: object) -> float:
    """Returns a time in seconds; NaN if it is none."""
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())) is not None:
        sign, hours, minutes, seconds = clock.groups()
        found = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
        return -found if sign else found
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return math.nan


def _shown(value: object) -> str:
    return repr(value)[:100]
