"""The files that people open: subtitles (SRT, WebVTT), tables (TSV) and plain text, of one row each.

They are as openai/whisper writes them, so that what reads its files reads these. What could break a file, and
it leaves as it is, does not come through: ends of lines inside a text, an arrow in SRT, markup in WebVTT.
Segments without text are left out; with none left, a file is empty, and valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

Row = Mapping[str, Any]

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")  # nobody says them, and a NUL ends a file for many


def to_srt(row: Row) -> str:
    """SubRip: numbered from 1, `00:01:02,500 --> 00:01:04,000`, a blank line behind each."""
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text.replace('-->', '->')}\n\n"
        for number, (start, end, text) in enumerate(_cues(row), start=1)
    )


def to_vtt(row: Row) -> str:
    """WebVTT: `01:02.500 --> 01:04.000`, with hours where there are some; `&`, `<` and `>` escaped."""
    cues = (
        f"{_short_clock(start)} --> {_short_clock(end)}\n{escape(text, quote=False)}\n\n"
        for start, end, text in _cues(row)
    )
    return "WEBVTT\n\n" + "".join(cues)


def to_tsv(row: Row) -> str:
    """`start`, `end` in milliseconds and `text`, with tabs between them, below a line that says so."""
    lines = (f"{start}\t{end}\t{text}\n" for start, end, text in _lines(row))
    return "start\tend\ttext\n" + "".join(lines)


def to_txt(row: Row) -> str:
    """A line a segment."""
    return "".join(f"{text}\n" for _, _, text in _lines(row))


RENDERERS: dict[str, Callable[[Row], str]] = {"srt": to_srt, "vtt": to_vtt, "tsv": to_tsv, "txt": to_txt}
"""A row of `transforms.writing.rows.SCHEMA` to a file's text, by the format's name (the files' suffix)."""


def _cues(row: Row) -> Iterator[tuple[int, int, str]]:
    """As `_lines`; players want a cue to end after it begins."""
    for start, end, text in _lines(row):
        yield start, max(end, start + 1), text


def _lines(row: Row) -> Iterator[tuple[int, int, str]]:
    """Start and end of each segment in milliseconds, and its text as one line without tabs."""
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
