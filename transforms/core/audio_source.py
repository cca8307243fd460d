"""A recording to transcribe, with its id and its name: a file, or a part of one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from transforms.core.audio_streams import StreamChoice
from transforms.core.clips import ClipTimes
from transforms.core.record import Record

_AUDIO_ID = re.compile(r"([^-]*)(-s\d+)?(-\d+)?")

Metadata = tuple[tuple[str, str], ...]
"""Further columns of a row: (name, value as JSON) each."""


@dataclass(frozen=True)
class AudioSource(Record):
    """A recording to transcribe: a file, a time range of a file, or an audio stream or a channel of one.

    >>> AudioSource("6b1f0d2c9e8a4f35", "talk.mp3", start_s=10, end_s=20.5).name
    'talk.mp3#t=10,20.5'

    Attributes:
        audio_id: the same in every run: a hash of place and time range, with the audio stream and the channel
            where each is a recording of its own (`of_stream`, `of_channel`).
        uri: location of the file, for display and for `transforms.fetch`.
        payload: the encoded bytes of a row of a dataset or a member of an archive; else None.
        reference: reference transcript, if the manifest or dataset has one.
        prompt: text that precedes the recording, if the manifest or dataset has one.
        hotwords: names and terms that may occur in it, if the manifest or dataset has them.
        start_s: start in the file, in seconds, more than 0; None for the start of the file.
        end_s: end in the file, in seconds; None for the end of the file.
        language: code of the language to decode in; None for the language of the run.
        metadata: further columns of its row, (name, value as JSON) each.
        channel: the channel to transcribe, from 0; None for a mix of all.
        stream: the audio stream to transcribe, of a file with several; None for the default one.
        clip_timestamps: the clips of it that are transcribed, (start, end) in seconds from `start_s` on, as
            `transforms.core.clips.checked_clips` returns them; empty for all of it.
    """

    audio_id: str
    uri: str
    payload: bytes | None = field(default=None, repr=False)
    reference: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    language: str | None = None
    metadata: Metadata = ()
    channel: int | None = None
    stream: StreamChoice = None
    clip_timestamps: ClipTimes = ()

    @property
    def name(self) -> str:
        """The URI, with a time range as a W3C media fragment: `talk.mp3#t=10,20.5`.

        Where each audio stream is a recording of its own, its number is a part of it: `film.mkv#track=1`.
        """
        name = self.uri + media_fragment(self.start_s, self.end_s)
        if not split_id(self.audio_id)[1]:
            return name
        return f"{name}{'&' if name != self.uri else '#'}track={self.stream}"

    @property
    def is_part(self) -> bool:
        """Whether it is a time range of a file."""
        return self.start_s is not None or self.end_s is not None

    @property
    def is_channel(self) -> bool:
        """Whether a channel of a file is a recording of its own."""
        return bool(split_id(self.audio_id)[2])


def of_channel(source: AudioSource, channel: int) -> AudioSource:
    """Returns a channel of a file, or of an audio stream of one, as a recording of its own."""
    file, stream, _ = split_id(source.audio_id)
    return replace(source, audio_id=f"{file}{stream}-{channel}", channel=channel)


def of_stream(source: AudioSource, stream: int) -> AudioSource:
    """Returns an audio stream of a file, or a channel of it, as a recording of its own."""
    file, _, channel = split_id(source.audio_id)
    return replace(source, audio_id=f"{file}-s{stream}{channel}", stream=stream)


def file_id(audio_id: str) -> str:
    """Returns the id of the file of a recording, which may be an audio stream or a channel of it."""
    return audio_id.partition("-")[0]


def split_id(audio_id: str) -> tuple[str, str, str]:
    """Returns the id of the file, and what stands behind it for an audio stream and for a channel.

    >>> split_id("6b1f0d2c9e8a4f35-s2-0")
    ('6b1f0d2c9e8a4f35', '-s2', '-0')
    """
    match = _AUDIO_ID.fullmatch(audio_id)
    return (match[1], match[2] or "", match[3] or "") if match else (file_id(audio_id), "", "")


def media_fragment(start_s: float | None, end_s: float | None) -> str:
    """Returns `#t=START,END` in seconds, without the one that is None; an empty string if both are None."""
    if start_s is None and end_s is None:
        return ""
    start, end = ("" if time_s is None else _seconds(time_s) for time_s in (start_s, end_s))
    return f"#t={start},{end}" if end else f"#t={start}"


def _seconds(time_s: float) -> str:
    return f"{time_s:.6f}".rstrip("0").rstrip(".")
