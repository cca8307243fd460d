"""Recordings into windows of at most 30 s that share a few seconds with their neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio import AudioReader
from transforms.errors import redact
from transforms.fetch import open_audio
from transforms.types import AudioSpan, Recording, Window


def read_windows(
    span: AudioSpan, chunk_length_s: float, stride_length_s: float
) -> Iterator[Window | Recording]:
    """Fetches and decodes a recording and cuts it, holding one window and one block of it at a time.

    Args:
        span: the recording, and which of its windows are wanted.
        chunk_length_s: seconds in a window.
        stride_length_s: seconds that neighbouring windows share.

    Yields:
        The windows wanted, in order, and last the `Recording`. Its source has no payload and its URI no
        credentials, for it goes into the rows and no more to be fetched. When decoding breaks off, the
        windows that could be made come first, and `truncated` and `problem` tell.

    Raises:
        AudioError: nothing could be fetched or decoded.
        ValueError: the windows would not move forward, or leave gaps.
    """
    window_samples = round(chunk_length_s * SAMPLE_RATE)
    hop_samples = window_samples - round(stride_length_s * SAMPLE_RATE)
    source, n_windows = span.source, 0
    with open_audio(source) as file:
        reader = AudioReader(file)
        cuts = cut_windows(reader.blocks(), window_samples, hop_samples)
        for index, (start, samples, n_own) in enumerate(cuts):
            n_windows += 1
            if span.windows is None or index in span.windows:
                yield Window(source.audio_id, index, start, samples, n_own, span.language)
    yield Recording(
        source=replace(source, uri=redact(source.uri), payload=None),
        duration_s=reader.decoded_s,
        n_windows=n_windows,
        truncated=reader.truncated,
        problem=reader.problem,
    )


def cut_windows(
    blocks: Iterable[Samples], window_samples: int, hop_samples: int
) -> Iterator[tuple[int, Samples, int]]:
    """Cuts consecutive blocks of samples into windows: one every hop, the last the first to reach the end.

    Args:
        blocks: float32[any] each; together they are the recording.
        window_samples: samples in a window; only the last may have fewer.
        hop_samples: samples from one window's start to the next one's, `0 < hop <= window`.

    Yields:
        Each window's first sample; the samples, an array of its own, float32[<= window_samples]; and how many
        of them no later window hears.

    Raises:
        ValueError: a hop that does not fit the window.
    """
    if not 0 < hop_samples <= window_samples:
        raise ValueError(
            f"windows of {window_samples} samples every {hop_samples}: the hop must be at least 1 and at "
            "most the window; choose a stride_length_s of at least 0 and less than chunk_length_s"
        )
    starts = itertools.count(0, hop_samples)
    ahead: Samples = np.empty(0, np.float32)
    for block in blocks:
        ahead = np.concatenate([ahead, block])
        while len(ahead) > window_samples:  # with exactly a window left, it may be the last
            yield next(starts), ahead[:window_samples].copy(), hop_samples
            ahead = ahead[hop_samples:]
    if len(ahead):
        yield next(starts), ahead.copy(), len(ahead)
