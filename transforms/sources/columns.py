"""Columns of manifests and datasets: which is the audio, the reference, a hint; the others are metadata.

The audio is in the first of the columns `audio`, `audio_filepath`, `path`, `uri`, `url`, `file`, `wav` that
is there, the reference in the first of `text`, `sentence`, `transcription`, `transcript`, `reference`, a
prompt in `initial_prompt`, hot words in `hotwords`, the language in `language`. The rest is kept as it is.
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
PROMPT_COLUMNS = ("initial_prompt",)  # in corpora of read speech, `prompt` is what was to be read
HOTWORDS_COLUMNS = ("hotwords",)
LANGUAGE_COLUMNS = ("language",)
START_END = ("start", "end")
OFFSET_DURATION = ("offset", "duration")  # NeMo's; a duration alone is that of the file

Row = Mapping[str, object]
"""What a line says, by column."""


class ColumnError(ValueError):
    """A value that its column cannot have: which, and what was expected."""


def choose_column(columns: Collection[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """The column wanted, or else the first that has a usual name; None when it is not there."""
    names = usual if wanted is None else (wanted,)
    return next((name for name in names if name in columns), None)


def get_text(row: Row, column: str | None) -> str | None:
    """What a column says, as text; None when there is none, or nothing in it."""
    value = None if column is None else row.get(column)
    return None if value is None else str(value)


def apply_row(source: AudioSource, row: Row, used: Collection[str | None]) -> AudioSource:
    """The recording with what its row says of it.

    Args:
        source: with its reference.
        row: the language of a row that Whisper does not know is left to be detected, and kept as metadata.
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
        prompt=get_text(row, prompt) or None,  # an empty field is none
        hotwords=get_text(row, hotwords) or None,
        language=code,
        metadata=encode_metadata({name: value for name, value in row.items() if name not in known}),
    )


def check_language(row: Row) -> None:
    """Raises `ColumnError` for a row with a language that Whisper does not know."""
    column = choose_column(row.keys(), None, LANGUAGE_COLUMNS)
    said = (get_text(row, column) or "").strip()
    if said and code_of(said) is None:
        raise ColumnError(
            f"{column} is {said!r}, where a code or English name that Whisper knows was expected"
        )


def apply_clip(source: AudioSource, row: Row) -> tuple[AudioSource, frozenset[str]]:
    """The part of the file that the row names with `start` and `end`, or `offset` and `duration`, in seconds.

    Returns:
        The recording, and the columns that were used.

    Raises:
        ColumnError: no numbers of 0 or more, or an end that is not after the start.
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
    start_s = start_s or None  # 0 is where a file starts anyway
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
    """Each column's value as JSON; a number that is none (NaN, infinite) is null."""
    return tuple((name, json.dumps(_finite(value), ensure_ascii=False)) for name, value in row.items())


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return value
