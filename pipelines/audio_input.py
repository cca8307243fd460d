"""The audio that callers in Python pass: a path, URL, bytes, an open file, or samples."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
from numpy.typing import NDArray

from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source, plain
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import FetchPolicy

MAX_RATE = 768_000  # Hz, of the fastest converters
MAX_CHANNELS = 64
_FRAME = 1 << 16  # samples
_BLOCK_BYTES = 1 << 20


class AudioInputError(TypeError, ValueError):
    """An argument that is no audio: what it is, and what is allowed."""


@dataclass(frozen=True)
class AudioInput:
    """A recording, and how its file is opened.

    Attributes:
        source: names the recording.
        opener: opens its file, as often as it is read.
    """

    source: AudioSource
    opener: Opener = open_audio


def audio_input(audio: object, sampling_rate: int | None = None) -> AudioInput:
    """Returns the recording that an argument stands for.

    Args:
        audio: a path or URL (`str`, `os.PathLike`); the bytes of a file; a file opened for reading in binary
            mode, of which all is read, wherever it stands; samples, float [n], [n, channels] or [channels, n]
            in [-1, 1], or integers of full scale, with `sampling_rate`, as a pair (samples, rate), or as a
            dict of a Hugging Face dataset (`array` or `raw` with `sampling_rate`; `bytes` or `path`).
        sampling_rate: samples per second of an array.

    Raises:
        AudioInputError: none of these.
    """
    match audio:
        case str() | os.PathLike():
            return _from_path(os.fspath(audio))
        case bytes() | bytearray() | memoryview():
            return from_file(io.BytesIO(bytes(audio)))
        case Mapping():
            return _from_mapping(audio, sampling_rate)
        case (samples, rate) if isinstance(rate, int | float | np.integer | np.floating) and not np.isscalar(
            samples
        ):
            return _from_samples(samples, float(rate))
        case _ if hasattr(audio, "read"):
            return from_file(_seekable(cast(BinaryIO, audio)))
        case _ if hasattr(audio, "__array__") or isinstance(audio, list | tuple):
            return _from_samples(audio, sampling_rate)
    raise AudioInputError(
        f"audio is a {type(audio).__name__}: give a path, a URL, the bytes of a file, a file opened with "
        "'rb', or an array with sampling_rate"
    )


def from_file(file: BinaryIO, digest: str | None = None, name: str | None = None) -> AudioInput:
    """Returns the recording in a seekable binary file, which the caller keeps open.

    Args:
        file: the file; it is read from its start.
        digest: SHA-256 of its content in hexadecimal digits, if it is known. Sampling depends on it.
        name: name of the file, for messages and the row.
    """
    if digest is None:
        file.seek(0)
        hashed = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
        digest = hashed.hexdigest()

    @contextmanager
    def opened(source: AudioSource, policy: FetchPolicy) -> Iterator[BinaryIO]:
        if not file.seek(0, os.SEEK_END):
            raise AudioError("fetch", "empty", "0 bytes")
        file.seek(0)
        yield file

    return AudioInput(AudioSource(digest[:16], name or str(getattr(file, "name", "audio"))), opened)


def _from_path(path: object) -> AudioInput:
    if not isinstance(path, str):
        raise AudioInputError(f"audio is a path of type {type(path).__name__}: give text")
    if not path:
        raise AudioInputError("audio is an empty path")
    return AudioInput(audio_source(plain(path)))


def _from_mapping(audio: Mapping[str, Any], sampling_rate: int | None) -> AudioInput:
    """Returns the recording of a dict as Hugging Face `datasets` and `transformers` have them."""
    rate = audio.get("sampling_rate", sampling_rate)
    for name in ("array", "raw"):
        if audio.get(name) is not None:
            return _from_samples(audio[name], rate)
    for name in ("bytes", "path"):
        if audio.get(name) is not None:
            return audio_input(audio[name])
    raise AudioInputError(
        f"audio is a dict with {', '.join(map(str, audio)) or 'no keys'}: give one with array and "
        "sampling_rate, or with bytes or path"
    )


def _seekable(file: BinaryIO) -> BinaryIO:
    """Returns the file, or a copy if it is a pipe or a socket."""
    if isinstance(file, io.TextIOBase):
        raise AudioInputError("audio is a file opened as text: open it with 'rb'")
    if callable(getattr(file, "seekable", None)) and file.seekable():
        return file
    copy = io.BytesIO()
    shutil.copyfileobj(file, copy)
    return copy


def _from_samples(samples: object, sampling_rate: float | None) -> AudioInput:
    if sampling_rate is None:
        raise AudioInputError("audio is an array: give its sampling_rate too, in samples per second")
    if not 1 <= float(sampling_rate) <= MAX_RATE or int(sampling_rate) != sampling_rate:
        raise AudioInputError(f"sampling_rate {sampling_rate}: give a whole number from 1 to {MAX_RATE}")
    return from_file(_encoded(_channels_first(np.asarray(samples)), int(sampling_rate)), name="array")


def _channels_first(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Returns float32[channels, n]; of two dimensions, the shorter one is that of the channels."""
    if samples.ndim not in (1, 2) or not samples.size or min(samples.shape) > MAX_CHANNELS:
        raise AudioInputError(
            f"audio is an array of shape {list(samples.shape)}: give [n], [n, channels] or [channels, n], "
            f"with at least one sample and at most {MAX_CHANNELS} channels"
        )
    if np.issubdtype(samples.dtype, np.signedinteger):
        samples = samples / -float(np.iinfo(samples.dtype).min)
    elif samples.dtype == np.uint8:  # as in 8-bit WAV
        samples = (samples.astype(np.float32) - 128) / 128
    elif not (np.issubdtype(samples.dtype, np.floating) or samples.dtype.name == "bfloat16"):
        raise AudioInputError(f"audio is an array of {samples.dtype}: give floats in [-1, 1], or integers")
    samples = np.atleast_2d(samples.astype(np.float32))
    return samples if samples.shape[0] <= samples.shape[1] else np.ascontiguousarray(samples.T)


def _encoded(samples: NDArray[np.float32], rate: int) -> BinaryIO:
    """Returns samples [channels, n] as a file of PCM: Wave64, which has no limit of 4 GB.

    So they are resampled and mixed as those of a file are.
    """
    file = io.BytesIO()
    n_channels = samples.shape[0]
    layout = "mono" if n_channels == 1 else f"{n_channels}c"
    with av.open(file, "w", format="w64") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        for start in range(0, samples.shape[1], _FRAME):
            interleaved = samples[:, start : start + _FRAME].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file
