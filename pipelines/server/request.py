"""A request for a transcription or translation, checked."""

from __future__ import annotations

from dataclasses import dataclass

JSON, TEXT, SRT, VTT, VERBOSE_JSON = "json", "text", "srt", "vtt", "verbose_json"
RESPONSE_FORMATS = (JSON, TEXT, SRT, VERBOSE_JSON, VTT)
STREAMED_FORMATS = (JSON, TEXT, VERBOSE_JSON)
"""The formats that `stream` can have: subtitles are in the last event of `verbose_json`."""


@dataclass(frozen=True, kw_only=True)
class TranscriptionRequest:
    """A client's wishes, besides the audio.

    Attributes:
        model: name of the model that is served, also if the client gave an alias.
        task: `transcribe` or `translate`.
        language: code of the language spoken; None to detect it.
        languages: codes that the detection is restricted to; empty for all of the model's.
        prompt: text that may have come before; None for none.
        hotwords: names and terms to be expected, joined with commas; None for none.
        clip_timestamps: START, END, START, ... of the clips to transcribe, in seconds; empty for all.
        temperature: 0 for the fallback ladder; above 0, this temperature alone. At most 1.
        response_format: one of `RESPONSE_FORMATS`.
        words: whether `verbose_json` has words.
        segments: whether `verbose_json` has segments.
        stream: whether the answer is a stream of events.
        url: URL of the audio, instead of a file; None for a file.
    """

    model: str
    task: str
    language: str | None
    languages: tuple[str, ...]
    prompt: str | None
    hotwords: str | None
    clip_timestamps: tuple[float, ...]
    temperature: float
    response_format: str
    words: bool
    segments: bool
    stream: bool
    url: str | None
