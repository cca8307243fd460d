"""Ranges of a long recording that several workers may take, by what its header says of its length.

That is a guess, and need be no more: who finds that the recording ends before its range has nothing to do,
and who has the last range reads to wherever it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import fsspec

from transforms.audio.ffmpeg import open_container
from transforms.core.recording_parts import Range, missing_ranges
from transforms.core.types import AudioSource, AudioSpan
from transforms.core.uris import is_http, is_url
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.fetch.public_addresses import check_hosts_named

WHOLE: tuple[Range, ...] = ((0, None),)


def split_into_ranges(source: AudioSource, length_s: int, policy: FetchPolicy) -> tuple[Range, ...]:
    """The ranges of a recording, of at most `length_s`; one where it is short, or one worker reads it.

    Every worker reads a file for itself: what is a member of an archive, a part of a file, or comes from a
    web server, which ten workers should not ask at once for the same file, is one worker's.
    """
    is_part = source.start_s is not None or source.end_s is not None
    if source.payload is not None or is_part or is_http(source.uri):
        return WHOLE
    try:
        with _opened(source, policy) as file:
            told_s = _told_s(file)
    except Exception:  # whatever it is, it is told where the recording is read
        return WHOLE
    found = list(missing_ranges(0, int(told_s), (), length_s))
    return (*found[:-1], (found[-1][0], None)) if found else WHOLE


def key_by_range(span: AudioSpan) -> tuple[tuple[str, int], AudioSpan]:
    """A range with a key that it has alone, by which ranges are spread."""
    return (span.source.audio_id, span.start_s), span


@contextmanager
def _opened(source: AudioSource, policy: FetchPolicy) -> Iterator[BinaryIO]:
    """The recording, in place: of an object store, its header alone is fetched."""
    if not is_url(source.uri):
        with open_audio(source, policy) as file:
            yield file
        return
    if not policy.allow_private_hosts:
        check_hosts_named(source.uri)
    with fsspec.open(source.uri, "rb") as file:
        yield file


def _told_s(file: BinaryIO) -> float:
    """Seconds that FFmpeg thinks there are, 0 where it does not know."""
    with open_container(file) as container:
        return (container.duration or 0) / av.time_base
