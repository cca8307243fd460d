"""The audio that callers in Python pass: a path, URL, bytes, an open file, or samples."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO, TypeGuard, cast

import av
import numpy as np
from numpy.typing import NDArray

from transforms.audio.ffmpeg import MAX_CHANNELS, MAX_RATE, MIN_RATE
from transforms.core.cancellation import Check
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source, plain
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.sources.single_uri import absolute

_FULL_SCALES = {"uint8": 128.0, "int8": 128.0, "int16": 32_768.0, "int32": 2_147_483_648.0}
_FRAME = 1 << 16  # samples
_BLOCK_BYTES = 1 << 20
_BYTES_IN_MEMORY = 32 << 20  # of a copy; a larger one is on the disk


class AudioInputError(TypeError, ValueError):
    """An argument that is no audio: what it is, and what is allowed."""


@dataclass(frozen=True)
class AudioInput:
    """A recording, and how its file is opened.

    Attributes:
        source: names the recording.
        opener: opens its file, as often as it is read.
        copy: a copy of the audio, to be closed at the end; None if there is none.
    """

    source: AudioSource
    opener: Opener = open_audio
    copy: BinaryIO | None = None

    def close(self) -> None:
        """Deletes the copy."""
        if self.copy is not None:
            self.copy.close()


def audio_input(audio: object, sampling_rate: float | None = None) -> AudioInput:
    """Returns the recording that an argument stands for.

    Args:
        audio: a path or URL (`str`, `os.PathLike`); the bytes of a file; a file opened for reading in binary
            mode, of which all is read, wherever it stands; samples, float [n], [n, channels] or [channels, n]
            in [-1, 1], or integers of full scale in 8, 16 or 32 bits, with `sampling_rate`, as a pair
            (samples, rate) or (rate, samples), or as a dict of a Hugging Face dataset (`array` or `raw` with
            `sampling_rate`; `bytes` or `path`).
        sampling_rate: samples per second of an array.

    Raises:
        AudioInputError: none of these.
    """
    match audio:
        case str() | os.PathLike():
            return _from_path(os.fspath(audio))
        case bytes() | bytearray() | memoryview():
            return from_file(io.BytesIO(audio))
        case Mapping():
            return _from_mapping(audio, sampling_rate)
        case (samples, rate) if _is_number(rate) and not _is_number(samples):
            return _from_samples(samples, rate)
        case (rate, samples) if _is_number(rate) and not _is_number(samples):
            return _from_samples(samples, rate)
        case _ if hasattr(audio, "read"):
            return _from_open_file(cast(BinaryIO, audio))
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
        digest: SHA-256 of its content in hexadecimal digits, from which the recording has its id; None if it
            is not known.
        name: name of the file, for messages and the row.
    """
    if digest is None:
        file.seek(0)
        hashed = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
        digest = hashed.hexdigest()

    @contextmanager
    def opened(source: AudioSource, policy: FetchPolicy, check: Check) -> Iterator[BinaryIO]:
        if not file.seek(0, os.SEEK_END):
            raise AudioError("fetch", "empty", "0 bytes")
        file.seek(0)
        yield file

    return AudioInput(AudioSource(digest[:16], str(name or getattr(file, "name", None) or "audio")), opened)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating)


def _from_path(path: object) -> AudioInput:
    if not isinstance(path, str):
        raise AudioInputError(f"audio is a path of type {type(path).__name__}: give text")
    if not path:
        raise AudioInputError("audio is an empty path")
    return AudioInput(audio_source(absolute(plain(path))))


def _from_mapping(audio: Mapping[str, Any], sampling_rate: float | None) -> AudioInput:
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


def _from_open_file(file: BinaryIO) -> AudioInput:
    """Returns the recording in an open file; one that cannot seek, such as a pipe, is copied."""
    if isinstance(file, io.TextIOBase):
        raise AudioInputError("audio is a file opened as text: open it with 'rb'")
    try:
        if callable(getattr(file, "seekable", None)) and file.seekable():
            return from_file(file)
        return _from_copy(partial(shutil.copyfileobj, file), str(getattr(file, "name", "audio")))
    except (OSError, TypeError, ValueError) as error:  # closed, opened for writing, not of bytes, broken
        message = f"audio is a file that cannot be read ({error}): open it with 'rb'"
        raise AudioInputError(message) from error


def _from_copy(write: Callable[[BinaryIO], None], name: str) -> AudioInput:
    """Returns the recording in a file of its own, which a function writes."""
    copy = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY))  # noqa: SIM115  # see close
    try:
        write(copy)
        return replace(from_file(copy, name=name), copy=copy)
    except BaseException:
        copy.close()
        raise


def _from_samples(samples: object, sampling_rate: float | None) -> AudioInput:
    if sampling_rate is None:
        raise AudioInputError("audio is an array: give its sampling_rate too, in samples per second")
    if not _is_number(sampling_rate) or not MIN_RATE <= sampling_rate <= MAX_RATE or sampling_rate % 1:
        raise AudioInputError(
            f"sampling_rate {sampling_rate!r}: give a whole number from {MIN_RATE} to {MAX_RATE}"
        )
    try:
        array = np.asarray(samples)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of different lengths, or no numbers
        raise AudioInputError(f"audio is no array of samples: {error}") from error
    channels = _channels_first(array)
    return _from_copy(partial(_encode, channels, _full_scale(array.dtype), int(sampling_rate)), "array")


def _channels_first(samples: NDArray[Any]) -> NDArray[Any]:
    """Returns [channels, n]; of two dimensions, the shorter one is that of the channels."""
    if samples.ndim not in (1, 2) or not samples.size or min(samples.shape[1:], default=1) == 0:
        raise AudioInputError(
            f"audio is an array of shape {list(samples.shape)}: give [n], [n, channels] or [channels, n], "
            "with at least one sample"
        )
    samples = np.atleast_2d(samples)
    samples = samples if samples.shape[0] <= samples.shape[1] else samples.T
    if samples.shape[0] > MAX_CHANNELS:
        raise AudioInputError(
            f"audio is an array of {samples.shape[0]} channels: give at most {MAX_CHANNELS}"
        )
    return samples


def _full_scale(dtype: np.dtype[Any]) -> float:
    """Returns the value that becomes 1."""
    if np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16":
        return 1.0
    if dtype.name in _FULL_SCALES:
        return _FULL_SCALES[dtype.name]
    raise AudioInputError(
        f"audio is an array of {dtype}, whose full scale is unknown: give floats in [-1, 1], or "
        f"{', '.join(_FULL_SCALES)}"
    )


def _encode(samples: NDArray[Any], full_scale: float, rate: int, file: BinaryIO) -> None:
    """Writes samples [channels, n] as a file of PCM, so that they are resampled and mixed as those of files.

    It is a Wave64, as that has no limit of 4 GB.
    """
    n_channels = samples.shape[0]
    layout = "mono" if n_channels == 1 else f"{n_channels}c"
    with av.open(file, "w", format="w64") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        for start in range(0, samples.shape[1], _FRAME):
            part = samples[:, start : start + _FRAME].astype(np.float64)
            if samples.dtype == np.uint8:  # as in 8-bit WAV, silence is in the middle
                part -= full_scale
            interleaved = (part / full_scale).astype(np.float32).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
