"""The audio streams of a file with several: how they are described, and which ones may be transcribed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.interface import code_of
from transforms.core.record import Record

StreamChoice = int | str | None
"""The stream to transcribe: its number, from 0, or its language; None for the default one."""


@dataclass(frozen=True)
class StreamInfo(Record):
    """An audio stream of a file with several.

    Attributes:
        index: its number among the audio streams of the file, from 0.
        language: language as the file names it, mostly a code of ISO 639-2; None if it names none.
        title: title in the file; None if it has none.
        default: whether the file marks it as the one to play.
        secondary: whether the file marks it as a commentary or an audio description.
        taken: whether it is the one that is transcribed.
        unreadable: whether it is in a form that cannot be decoded.
    """

    index: int
    language: str | None = None
    title: str | None = None
    default: bool = False
    secondary: bool = False
    taken: bool = False
    unreadable: bool = False

    def __str__(self) -> str:
        """Returns the stream for a message: `1 (eng, 'Microphone', default)`."""
        title = None if self.title is None else repr(self.title)
        words = ("default" if self.default else None, "unreadable" if self.unreadable else None)
        parts = [self.language, title, *words]
        described = ", ".join(part for part in parts if part is not None)
        return f"{self.index} ({described})" if described else str(self.index)


def candidates(streams: Sequence[StreamInfo], wanted: StreamChoice = None) -> list[StreamInfo]:
    """Returns the streams that may be transcribed, in order of preference; the first one with speech is.

    Streams that the file marks as the default come first, and commentaries and audio descriptions last.

    Args:
        streams: the audio streams of a file.
        wanted: restricts them to a number or a language; of one with a region, as `pt-BR`, to those of that
            region, if there are any.
    """
    if isinstance(wanted, int):
        return [one for one in streams if one.index == wanted]
    found = list(streams) if wanted is None else [one for one in streams if _is_in(one, wanted)]
    if wanted is not None and "-" in wanted:
        found = [one for one in found if _is_tagged(one, wanted)] or found
    return sorted(found, key=lambda one: (not one.default, one.secondary, one.index))


def choice_remark(
    streams: Sequence[StreamInfo], wanted: StreamChoice, *, has_speech: bool = True
) -> str | None:
    """Returns a remark about a stream that was guessed; None if the file or the user names it.

    Args:
        streams: the audio streams of a file with several; empty for one.
        wanted: see `candidates`.
        has_speech: False if no speech was found in the stream that was taken.
    """
    possible = candidates(streams, wanted)
    taken = next((one for one in possible if one.taken), None)
    if taken is None or len(possible) < 2:
        return None
    remarks = []
    defaults = [one for one in possible if one.default]
    if not defaults or len(defaults) == len(possible):
        marked = "none of them" if not defaults else "each of them"
        remarks.append(
            f"{len(possible)} audio streams, and {marked} is marked as the default: {taken}, the first with "
            "speech or sound, was transcribed"
        )
    elif not taken.default:
        silent = ", ".join(str(one) for one in defaults if not one.unreadable)
        if silent:
            remarks.append(f"no speech was found in audio stream {silent}: {taken} was transcribed")
    unreadable = ", ".join(str(one) for one in possible[: possible.index(taken)] if one.unreadable)
    if unreadable:
        remarks.append(f"audio stream {unreadable} cannot be decoded: {taken} was transcribed")
    if not has_speech:
        remarks.append(f"no speech was found in audio stream {taken}; there are others: {described(streams)}")
    return "; ".join(remarks) or None


def described(streams: Iterable[StreamInfo]) -> str:
    """Returns the streams that are not transcribed, for a message."""
    return ", ".join(str(one) for one in streams if not one.taken)


def _is_in(stream: StreamInfo, language: str) -> bool:
    """Whether a stream is in a language: the same code or tag, or one for the same language of Whisper."""
    if stream.language is None:
        return False
    if _is_tagged(stream, language):
        return True
    code = code_of(language)
    return code is not None and code_of(stream.language) == code


def _is_tagged(stream: StreamInfo, language: str) -> bool:
    """Whether the file names the language of a stream by that code or tag."""
    return stream.language is not None and stream.language.casefold() == language.casefold()
