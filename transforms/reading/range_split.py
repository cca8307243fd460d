"""Splits a long recording into ranges for several workers, by the length that its header declares.

The declared length need not be exact: a worker whose range starts after the end of the recording has nothing
to do, and the worker of the last range reads to the actual end. It is bounded by the size of the file, and by
the longest recording that is read: a header may declare any number.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import av

from model.interface import SAMPLE_RATE
from transforms.audio.ffmpeg import MAX_DURATION_S, open_container
from transforms.core.clips import Clips
from transforms.core.recording_parts import Range, missing_ranges
from transforms.core.types import AudioSource, AudioSpan
from transforms.core.uris import is_http
from transforms.fetch.open_audio import open_in_place
from transforms.fetch.policy import FetchPolicy

WHOLE: tuple[Range, ...] = ((0, None),)

MIN_BYTES_PER_S = 10
"""A file of fewer bytes is not as long as it declares; silence in FLAC, at 8 kHz, has 25."""


def split_into_ranges(source: AudioSource, length_s: int, policy: FetchPolicy) -> tuple[Range, ...]:
    """Returns the ranges of a recording, of at most `length_s` seconds; one range for one worker.

    A range without clips, where the recording has clips, is a part of the one before it. Each worker reads
    the file by itself. So a member of an archive and a part of a file are a single range,
    and so is a file on a web server, which should not serve the same file to many workers at once.

    Args:
        source: the recording.
        length_s: maximum seconds in a range.
        policy: which URIs may be fetched.
    """
    if source.payload is not None or source.is_part or is_http(source.uri):
        return WHOLE
    try:
        with open_in_place(source, policy) as file:
            declared_s = _declared_s(file)
    except Exception:  # any error is reported when the recording is read
        return WHOLE
    found = list(missing_ranges(0, int(declared_s), (), length_s))
    clips = Clips.of(source.clip_timestamps)
    starts = [
        start_s
        for start_s, stop_s in found
        if not start_s or clips.within(start_s * SAMPLE_RATE, (stop_s or start_s) * SAMPLE_RATE)
    ]
    return tuple(zip(starts, [*starts[1:], None], strict=True)) if starts else WHOLE


def key_by_range(span: AudioSpan) -> tuple[tuple[str, int], AudioSpan]:
    """Returns a range with a unique key, by which Beam spreads ranges over workers."""
    return (span.source.audio_id, span.start_s), span


def _declared_s(file: BinaryIO) -> float:
    """Returns the duration in seconds by FFmpeg, at most what the file can contain; 0 if unknown."""
    n_bytes = file.seek(0, os.SEEK_END)
    with open_container(file) as container:
        declared_s = (container.duration or 0) / av.time_base
    return min(declared_s, n_bytes / MIN_BYTES_PER_S, MAX_DURATION_S)
