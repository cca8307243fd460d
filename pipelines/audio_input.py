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
from functools import partial
from typing import Any, BinaryIO, cast

from transforms.core.cancellation import Check
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source, plain
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.sources.sample_arrays import SampleArrayError, is_number, pcm_writer
from transforms.sources.single_uri import absolute

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
        case (samples, rate) if is_number(rate) and not is_number(samples):
            return _from_samples(samples, rate)
        case (rate, samples) if is_number(rate) and not is_number(samples):
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
    try:
        write = pcm_writer(samples, sampling_rate)
    except SampleArrayError as error:
        raise AudioInputError(str(error)) from error
    return _from_copy(write, "array")
