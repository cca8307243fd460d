"""Columns of manifests and datasets: the audio, the reference and hints for decoding; others are metadata.

The audio is in the first existing one of the columns `audio`, `audio_filepath`, `path`, `uri`, `url`, `file`,
`wav`, the reference in the first existing one of `text`, `sentence`, `transcription`, `transcript`,
`reference`. A prompt is in `initial_prompt`, hot words in `hotwords`, the language in `language`. Other
columns are kept unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from model.interface import code_of
from transforms.core.types import AudioSource, Metadata, media_fragment
from transforms.core.uris import audio_id_of

AUDIO_COLUMNS = ("audio", "audio_filepath", "path", "uri", "url", "file", "wav")
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "reference")
PROMPT_COLUMNS = ("initial_prompt",)  # in corpora of read speech, `prompt` is the text to read
HOTWORDS_COLUMNS = ("hotwords",)
LANGUAGE_COLUMNS = ("language",)
START_END = ("start", "end")
OFFSET_DURATION = ("offset", "duration")  # NeMo's; a duration without an offset is that of the file

Row = Mapping[str, object]
"""The values of a line, by column."""


class ColumnError(ValueError):
    """A value is invalid in its column; the message has the value and the values expected."""


def choose_column(columns: Collection[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """Returns the column wanted, or else the first with a usual name; None if it does not exist."""
    names = usual if wanted is None else (wanted,)
    return next((name for name in names if name in columns), None)


def get_text(row: Row, column: str | None) -> str | None:
    """Returns the value of a column as text; None if there is no such column or value."""
    value = None if column is None else row.get(column)
    return None if value is None else str(value)


def apply_row(source: AudioSource, row: Row, used: Collection[str | None]) -> AudioSource:
    """Returns the recording with the hints and the metadata of its row.

    Args:
        source: the recording, with its reference.
        row: values by column; a language that Whisper does not know is kept as metadata, and detected.
        used: columns that are neither hint nor metadata: the audio, the reference.
    """
    prompt, hotwords, language = (
        choose_column(row.keys(), None, usual)
        for usual in (PROMPT_COLUMNS, HOTWORDS_COLUMNS, LANGUAGE_COLUMNS)
    )
    code = code_of(str(row[language])) if language else None
    known = {*used, prompt, hotwords, language if code else None}
    return replace(
        source,
        prompt=get_text(row, prompt) or None,  # None for an empty field
        hotwords=get_text(row, hotwords) or None,
        language=code,
        metadata=encode_metadata({name: value for name, value in row.items() if name not in known}),
    )


def check_language(row: Row) -> None:
    """Raises `ColumnError` if the row has a language that Whisper does not know."""
    column = choose_column(row.keys(), None, LANGUAGE_COLUMNS)
    language = (get_text(row, column) or "").strip()
    if language and code_of(language) is None:
        raise ColumnError(
            f"{column} is {language!r}, where a code or English name that Whisper knows was expected"
        )


def apply_clip(source: AudioSource, row: Row) -> tuple[AudioSource, frozenset[str]]:
    """Restricts a recording to a part of its file: `start` and `end`, or `offset` and `duration`, in seconds.

    Returns:
        The recording, and the columns that were used.

    Raises:
        ColumnError: a value is not a number of 0 or more, or the end is not after the start.
    """
    if any(name in row for name in START_END):
        used = START_END
        start_s, end_s = (_seconds(row, name) for name in used)
    elif OFFSET_DURATION[0] in row:
        used = OFFSET_DURATION
        start_s, length_s = (_seconds(row, name) for name in used)
        end_s = None if length_s is None else (start_s or 0.0) + length_s
    else:
        return source, frozenset()
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ColumnError(f"ends at {end_s:g} s, which is not after its start at {start_s or 0:g} s")
    start_s = start_s or None  # a file starts at 0 anyway
    audio_id = audio_id_of(source.uri, media_fragment(start_s, end_s))
    return replace(source, audio_id=audio_id, start_s=start_s, end_s=end_s), frozenset(used)


def _seconds(row: Row, column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 <= seconds < math.inf:
        raise ColumnError(f"{column} is {value!r}, where seconds, 0 or more, were expected")
    return seconds


def encode_metadata(row: Row) -> Metadata:
    """Returns each column's value as JSON; NaN and infinite numbers become null."""
    return tuple((name, json.dumps(_finite(value), ensure_ascii=False)) for name, value in row.items())


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return value
