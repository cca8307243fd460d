"""Chooses the audio stream of a file with several: the one that players take, unless it has no speech.

Of a file with a single audio stream, or where the user names one, nothing is read for it. Else the streams
are decoded together until the preferred one has speech: in most files, for some seconds. If it has none in
half an hour, the first stream that had some is chosen, else the first one with any sound up to its end. So
only a stream that is silent throughout is decoded to its end in addition, and the choice is the same in all
passes over a file, its time ranges and its channels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition

from transforms.audio.ffmpeg import MAX_DURATION_S, audio_stream, open_container
from transforms.audio.sound_meter import MakeDetector, SoundMeter
from transforms.core.audio_streams import StreamChoice, StreamInfo, candidates
from transforms.core.cancellation import Check
from transforms.core.errors import AudioError
from transforms.core.redaction import redact_text

SEARCH_S = 1800.0
"""Seconds of a stream that are searched for speech."""

MAX_PROBED = 64
"""Streams that are searched; a header may declare a thousand, each with a decoder."""

MAX_TEXT = 200
"""Characters that are kept of the title and the language of a stream."""

_SECONDARY = Disposition.comment | Disposition.visual_impaired | Disposition.descriptions
_CHECK_PACKETS = 256


class ChosenStream(NamedTuple):
    """The audio stream of a container that is to be transcribed.

    Attributes:
        container: to be read from its start.
        number: the number of the stream, see `transforms.audio.ffmpeg.audio_stream`.
        infos: the audio streams of a file with several, and which one this is; empty for one.
    """

    container: InputContainer
    number: int
    infos: tuple[StreamInfo, ...]


@contextmanager
def open_chosen(
    file: BinaryIO, wanted: StreamChoice, check: Check, make_detector: MakeDetector | None = None
) -> Generator[ChosenStream]:
    """Opens a file, and chooses the audio stream that is to be transcribed.

    Args:
        file: seekable and binary.
        wanted: the number of the stream or its language; None for the default one.
        check: called while streams are searched; may raise.
        make_detector: returns a detector of speech; None to search for sound alone.

    Raises:
        AudioError: the file has no such stream; or see `open_container`.
    """
    with open_container(file) as container:
        infos = stream_infos(container)
        possible = candidates(infos, wanted)
        if infos and not possible:
            raise _no_such_stream(infos, wanted)
        possible = [one for one in possible if not one.unreadable] or possible[:1]
        if len(possible) <= 1:
            yield _chosen(container, infos, possible[0].index if possible else 0)
            return
        numbers = [one.index for one in possible[:MAX_PROBED]]
        number = _searched(container, numbers, check, make_detector)
    with open_container(file) as container:  # from its start: not all formats can be wound back exactly
        yield _chosen(container, infos, number)


def stream_infos(container: InputContainer) -> tuple[StreamInfo, ...]:
    """Returns the audio streams of a container, none of them taken."""
    return tuple(_info(container, index, stream) for index, stream in enumerate(container.streams.audio))


def _info(container: InputContainer, index: int, stream: AudioStream) -> StreamInfo:
    tags = stream.metadata
    language = tags.get("language", "").strip("\0 ")
    title = redact_text(" ".join((tags.get("title") or tags.get("name", "")).split()))
    return StreamInfo(
        index,
        None if language.casefold() in ("", "und") else language[:MAX_TEXT],
        title[:MAX_TEXT] or None,
        bool(stream.disposition & Disposition.default),
        bool(stream.disposition & _SECONDARY),
        unreadable=not _is_readable(container, index),
    )


def _is_readable(container: InputContainer, number: int) -> bool:
    try:
        audio_stream(container, number)
    except AudioError:  # raised when the stream is decoded, if there is no other
        return False
    return True


def _chosen(container: InputContainer, infos: Sequence[StreamInfo], number: int) -> ChosenStream:
    several = infos if len(infos) > 1 else ()
    return ChosenStream(container, number, tuple(replace(one, taken=one.index == number) for one in several))


def _no_such_stream(infos: Sequence[StreamInfo], wanted: StreamChoice) -> AudioError:
    kind = f"no audio stream {wanted}" if isinstance(wanted, int) else f"no audio stream in {wanted!r}"
    known = ", ".join(map(str, infos))
    message = f"there is {kind}; the file has, counted from 0: {known}; choose another one (--audio_stream)"
    return AudioError("decode", "no_such_stream", message)


def _searched(
    container: InputContainer, possible: Sequence[int], check: Check, make_detector: MakeDetector | None
) -> int:
    """Returns the first of some streams with speech, or else with sound; without any, the first one."""
    meters = {number: SoundMeter(audio_stream(container, number), make_detector) for number in possible}
    found = _search(container, list(meters.values()), check, detect=make_detector is not None)
    return next(number for number, meter in meters.items() if meter is found)


def _search(container: InputContainer, meters: list[SoundMeter], check: Check, *, detect: bool) -> SoundMeter:
    """Returns the first stream with speech, or else with sound; reads as little as possible for it."""
    by_index = {meter.stream.index: meter for meter in meters}
    pending = meters  # those that may still be the first
    for count, packet in enumerate(_packets(container, [meter.stream for meter in meters])):
        if count % _CHECK_PACKETS == 0:
            check()
        meter = by_index.get(packet.stream.index)
        if meter is None or meter not in pending or meter.read_s > MAX_DURATION_S:
            continue
        meter.feed(packet, detect=detect)
        if detect and meter.read_s > SEARCH_S:
            if any(one.has_speech for one in meters):
                break
            detect, pending = False, meters
        at = next((n for n, one in enumerate(pending) if (one.has_speech if detect else one.has_sound)), None)
        if at == 0:
            return pending[0]
        pending = pending[:at]
    for meter in meters:
        meter.finish()
    ranked = [
        *(meter for meter in meters if meter.has_speech),
        *(meter for meter in meters if meter.has_sound),
        *(meter for meter in meters if meter.sound_s),
        *meters,
    ]
    return ranked[0]


def _packets(container: InputContainer, streams: list[AudioStream]) -> Iterator[Packet[Any]]:
    """Yields the packets of streams up to an error, which is reported when the stream is decoded."""
    packets = container.demux(streams)
    while True:
        try:
            yield from packets
            return
        except IndexError:  # damage may look like a new stream, which PyAV does not expect
            packets = container.demux(streams)
        except (av.FFmpegError, OSError):
            return
