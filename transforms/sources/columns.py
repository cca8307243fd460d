"""Columns of manifests and datasets: the audio, the reference and hints for decoding; others are metadata.

The audio is in the first existing one of the columns `audio`, `audio_filepath`, `path`, `uri`, `url`, `file`,
`wav`, in a list of files also in `file_name` or the only `*_file_name`. The reference is in the first
existing one of `text`, `sentence`, `transcription`, `transcript`, `reference`. A prompt is in
`initial_prompt`, hot words in `hotwords`, the language in `language`, clips in `clip_timestamps`. Other
columns are kept unchanged. A value that is not understood is kept too, and a remark says so; clips that are
not understood are an error, as all of the recording is not what was asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from model.interface import code_among, code_of, is_undetermined
from transforms.core.clips import ClipTimes, parse_clip_timestamps
from transforms.core.types import AudioSource, Metadata

AUDIO_COLUMNS = ("audio", "audio_filepath", "path", "uri", "url", "file", "wav")
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "reference")
PROMPT_COLUMNS = ("initial_prompt",)  # in corpora of read speech, `prompt` is the text to read
HOTWORDS_COLUMNS = ("hotwords",)
LANGUAGE_COLUMNS = ("language",)
CLIPS_COLUMN = "clip_timestamps"
FILE_NAME_COLUMN = "file_name"  # of audio folders; since `datasets` 4 also `audio_file_name` and the like

_FILE_NAME = re.compile(rf"[^,;\t]*_{FILE_NAME_COLUMN}")
"""Names of columns without a delimiter: one with it is the header of another kind of list."""

REMARKS = "remarks"
"""Column of the metadata with what was not understood of a row: a list of sentences."""

Row = Mapping[str, object]
"""The values of a line, by column."""


class ColumnError(ValueError):
    """A value is invalid in its column; the message has the value and the values expected."""


def choose_column(columns: Collection[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """Returns the column wanted, or else the first with a usual name; None if it does not exist."""
    names = usual if wanted is None else (wanted,)
    return next((name for name in names if name in columns), None)


def choose_listed_audio(columns: Collection[str], wanted: str | None) -> str | None:
    """Returns the column of a list of files with their names; None if it does not exist.

    It is the column wanted, or else the first with a usual name, `file_name`, or the only `*_file_name`. The
    last stands for `file_name` also where that is wanted.
    """
    found = choose_column(columns, wanted, (*AUDIO_COLUMNS, FILE_NAME_COLUMN))
    if found is not None or wanted not in (None, FILE_NAME_COLUMN):
        return found
    named = [name for name in columns if _FILE_NAME.fullmatch(name)]
    audio = f"audio_{FILE_NAME_COLUMN}"
    return audio if audio in named else named[0] if len(named) == 1 else None


def get_text(row: Row, column: str | None) -> str | None:
    """Returns the value of a column as text; None if there is no such column or value."""
    value = None if column is None else row.get(column)
    return None if value is None else str(value)


def apply_row(
    source: AudioSource,
    row: Row,
    used: Collection[str | None],
    remarks: Iterable[str] = (),
    languages: Collection[str] = (),
) -> AudioSource:
    """Returns the recording with the hints and the metadata of its row.

    Args:
        source: the recording, with its reference.
        row: values by column; a language that neither the model nor Whisper knows is kept as metadata, with a
            remark.
        used: columns that are neither hint nor metadata: the audio, the reference.
        remarks: what else was not understood of the row.
        languages: codes of the languages that the model knows, for those that only it knows.

    Raises:
        ColumnError: its clips cannot be used.
    """
    prompt, hotwords, language = (
        choose_column(row.keys(), None, usual)
        for usual in (PROMPT_COLUMNS, HOTWORDS_COLUMNS, LANGUAGE_COLUMNS)
    )
    named = get_text(row, language) or ""
    code = code_among(named, languages) or code_of(named) if named else None
    known = {*used, prompt, hotwords, language if code else None, CLIPS_COLUMN}
    kept = {name: value for name, value in row.items() if name not in known}
    sentences = list(remarks)
    if named and code is None and not is_undetermined(named):
        sentences.append(
            f"{language} is {named[:100]!r}, which is no code, tag or name of a language that Whisper or the "
            "model knows: it is kept as metadata, and the recording is transcribed as without it"
        )
    return replace(
        source,
        prompt=get_text(row, prompt) or None,  # None for an empty field
        hotwords=get_text(row, hotwords) or None,
        language=code,
        clip_timestamps=_clips_of(row),
        metadata=encode_metadata(kept) + _encoded_remarks(sentences, kept),
    )


def _clips_of(row: Row) -> ClipTimes:
    try:
        return parse_clip_timestamps(row.get(CLIPS_COLUMN))
    except ValueError as error:
        raise ColumnError(f"{CLIPS_COLUMN}: {error}") from error


def _encoded_remarks(remarks: Sequence[str], row: Row) -> Metadata:
    """Returns the column of remarks, with a name that the row does not have; nothing without remarks."""
    name = REMARKS
    while name in row:
        name = f"_{name}"
    return encode_metadata({name: list(remarks)}) if remarks else ()


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
