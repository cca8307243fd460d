"""Renders one row as subtitles (SRT, WebVTT), as a table (TSV) or as plain text.

The files are as openai/whisper writes them, so that programs that read its files read these too. Unlike
there, text that could break a file is removed or escaped: line breaks inside a text, an arrow in SRT, markup
in WebVTT. Segments without text are left out; if none is left, the file is empty and valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

Row = Mapping[str, Any]

# Control characters are not spoken, and many programs take NUL for the end of a file.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def to_srt(row: Row) -> str:
    """Returns SubRip: cues numbered from 1, `00:01:02,500 --> 00:01:04,000`, a blank line after each."""
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text.replace('-->', '->')}\n\n"
        for number, (start, end, text) in enumerate(_cues(row), start=1)
    )


def to_vtt(row: Row) -> str:
    """Returns WebVTT: `01:02.500 --> 01:04.000`, with hours only if not 0; `&`, `<` and `>` escaped."""
    cues = (
        f"{_short_clock(start)} --> {_short_clock(end)}\n{escape(text, quote=False)}\n\n"
        for start, end, text in _cues(row)
    )
    return "WEBVTT\n\n" + "".join(cues)


def to_tsv(row: Row) -> str:
    """Returns tab-separated `start`, `end` in milliseconds and `text`, below a header line."""
    lines = (f"{start}\t{end}\t{text}\n" for start, end, text in _lines(row))
    return "start\tend\ttext\n" + "".join(lines)


def to_txt(row: Row) -> str:
    """Returns one line for each segment."""
    return "".join(f"{text}\n" for _, _, text in _lines(row))


RENDERERS: dict[str, Callable[[Row], str]] = {"srt": to_srt, "vtt": to_vtt, "tsv": to_tsv, "txt": to_txt}
"""Renderers of a row of `transforms.writing.rows.SCHEMA`, by the name of the format (suffix of its files)."""


def _cues(row: Row) -> Iterator[tuple[int, int, str]]:
    """Yields `_lines` whose end is after their start, as players require."""
    for start, end, text in _lines(row):
        yield start, max(end, start + 1), text


def _lines(row: Row) -> Iterator[tuple[int, int, str]]:
    """Yields start and end of each segment in milliseconds, and its text as one line without tabs."""
    for segment in row["segments"]:
        text = _one_line(segment["text"])
        if text:
            yield round(1000 * segment["start"]), round(1000 * segment["end"]), text


def _one_line(text: str) -> str:
    parts = (part.strip() for part in _CONTROLS.sub("", text).replace("\t", " ").splitlines())
    return " ".join(part for part in parts if part)


def _clock(milliseconds: int, mark: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{mark}{thousandths:03d}"


def _short_clock(milliseconds: int) -> str:
    return _clock(milliseconds, ".").removeprefix("00:")
