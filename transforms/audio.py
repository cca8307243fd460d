"""Encoded audio of any kind into blocks of mono samples at 16 kHz.

FFmpeg reads all formats, by content and never by extension. It gives the same samples as libsndfile for
WAV, AIFF and FLAC at the same speed, and goes on where libsndfile stops: behind a damaged FLAC frame, and
in a WAV whose recorder died before it wrote the length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, BinaryIO

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, Samples
from transforms.containers import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_bytes,
    looks_like_audio,
    mp3_counts_its_frames,
    ogg_is_whole,
)
from transforms.errors import AudioError

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_DURATION_S = 100 * 3600.0  # a compressed silence of a few MB could keep a worker busy for years
MAX_AMPLITUDE = 1e6  # full scale is 1; far above this the power spectrum leaves float32
BLOCK_S = 30  # seconds of audio in a block, unless it has many channels
MAX_BLOCK_VALUES = 1 << 22  # samples over all channels: 16 MB as float32
TOLERANCE_S, TOLERANCE = 0.2, 0.001  # a header may be wrong by this much, absolute or relative


class AudioReader:
    """Decodes one file; what it says of the file holds once `blocks` is exhausted.

    Attributes:
        declared_s: seconds that the header promises; None where it promises nothing.
        problem: what is missing or damaged, in words; None when nothing is.
        truncated: more than 0.2 s, and more than a thousandth, is missing, or reading broke off.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Takes a seekable binary file, which stays the caller's to close."""
        self.declared_s: float | None = None
        self.problem: str | None = None
        self.truncated = False
        self._file = file
        self._n_samples = 0
        self._n_damaged = 0
        self._damaged_s = 0.0
        self._broke_off: AudioError | None = None

    @property
    def decoded_s(self) -> float:
        """Seconds that have been decoded."""
        return self._n_samples / SAMPLE_RATE

    def blocks(self) -> Iterator[Samples]:
        """Decodes from the start to the end, or to where the file breaks off.

        Yields:
            float32[n], n > 0, mono (the mean of the channels), 16 kHz, finite; about 30 s each. Samples
            above full scale stay as they are.

        Raises:
            AudioError: not one sample could be decoded.
        """
        try:
            with open_container(self._file) as container:
                stream = _audio_stream(container)
                self.declared_s = _declared_s(container, stream, self._file)
                for block in _to_model_rate(self._pieces(container, stream)):
                    _check_block(block, self.decoded_s)
                    self._n_samples += len(block)
                    yield block
                if container.format.name == "ogg" and not ogg_is_whole(self._file):
                    message = "the Ogg stream has no last page: the file was cut short"
                    raise AudioError("decode", "truncated", message)
        except AudioError as error:
            self._broke_off = self._broke_off or error
        if not self._n_samples:
            raise self._broke_off or self._nothing()
        self._conclude()

    def _pieces(self, container: InputContainer, stream: AudioStream) -> Iterator[tuple[int, Samples]]:
        """Gives (rate, mono samples) for runs of frames that are alike, at most a block at a time."""
        for kind, frames in itertools.groupby(self._frames(container, stream), key=_kind):
            rate, channels, _ = kind
            _check_bounds(rate, channels)
            limit = min(BLOCK_S * rate, MAX_BLOCK_VALUES // channels)
            waiting: list[NDArray[Any]] = []
            n_waiting = 0
            for frame in frames:
                waiting.append(_values(frame))
                n_waiting += frame.samples
                if n_waiting >= limit:
                    yield rate, _mono(waiting, kind)
                    waiting, n_waiting = [], 0
            if waiting:
                yield rate, _mono(waiting, kind)

    def _frames(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._broke_off = AudioError("decode", "corrupt", f"FFmpeg gave up: {error.strerror}")
                return
            except OSError as error:
                self._broke_off = AudioError("fetch", "io", f"reading broke off: {error}", retryable=True)
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:  # one damaged packet of thousands: players skip it, and so do we
                self._n_damaged += 1
                self._damaged_s += float((packet.duration or 0) * (packet.time_base or 0))

    def _nothing(self) -> AudioError:
        if self._n_damaged:
            return AudioError("decode", "corrupt", f"none of {self._n_damaged} packets could be decoded")
        return AudioError("decode", "empty", "the file holds no samples")

    def _conclude(self) -> None:
        """Says what is missing, once there is no more to come."""
        declared_s = self.declared_s or 0.0
        is_short = declared_s - self.decoded_s > max(TOLERANCE_S, TOLERANCE * declared_s)
        problems = [self._broke_off.message] if self._broke_off else []
        if self._n_damaged:
            problems.append(f"{self._n_damaged} damaged packets were skipped")
        if is_short:
            problems.append(f"{self.decoded_s:.2f} s of {declared_s:.2f} s declared could be decoded")
        self.truncated = self._broke_off is not None or is_short or self._damaged_s > TOLERANCE_S
        self.problem = "; ".join(problems) or None


class _BareFile:
    """A file without its name, which FFmpeg would guess the format from."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_container(file: BinaryIO) -> InputContainer:
    """Opens a file in FFmpeg, which may open nothing else: playlists and references are refused.

    Raises:
        AudioError: it is no audio, or too damaged to begin with.
    """
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    allowed = {
        "format_whitelist": ",".join(WITH_LENGTH + WITHOUT_LENGTH),
        "protocol_whitelist": "none",
    }
    try:
        return av.open(_BareFile(file), "r", container_options=allowed, metadata_errors="replace")
    except av.FFmpegError as error:
        if looks_like_audio(head):
            message = f"begins like audio, {head!r}, but cannot be read ({error.strerror}): cut or damaged"
            raise AudioError("decode", "corrupt", message) from error
        message = f"no audio format that is known; it begins with {head!r}"
        raise AudioError("decode", "not_audio", message) from error
    except OSError as error:
        raise AudioError("fetch", "io", f"cannot be read: {error}", retryable=True) from error


def _audio_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise AudioError("decode", "no_audio_stream", f"a {container.format.name} file without any sound")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError("decode", "unsupported", "encoded in a way that FFmpeg cannot decode")
    if stream.codec_context.sample_rate:  # 0 where only the first frame will tell
        _check_bounds(stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels)
    return stream


def _check_bounds(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        message = f"a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read"
        raise AudioError("decode", "unsupported", message)
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("decode", "unsupported", f"{channels} channels; 1 to {MAX_CHANNELS} are read")


def _declared_s(container: InputContainer, stream: AudioStream, file: BinaryIO) -> float | None:
    """Seconds that the header promises; None where FFmpeg can but estimate."""
    name = container.format.name
    position = file.tell()
    try:
        if name.split(",")[0] in WITHOUT_LENGTH and not (name == "mp3" and mp3_counts_its_frames(file)):
            return None
        seconds = _stream_s(container, stream)
        file.seek(0)
        promised = declared_bytes(file.read(24))
        if seconds is not None and promised is not None:
            seconds *= max(1.0, promised / file.seek(0, 2))
        return seconds
    finally:
        file.seek(position)


def _stream_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:  # else it may be the pictures'
        return container.duration / av.time_base
    return None


def _kind(frame: AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _values(frame: AudioFrame) -> NDArray[Any]:
    try:
        return frame.to_ndarray()
    except ValueError as error:
        message = f"samples of the format {frame.format.name}; 8 to 32 bits and floats are read"
        raise AudioError("decode", "unsupported", message) from error


def _mono(frames: list[NDArray[Any]], kind: tuple[int, int, str]) -> Samples:
    """The mean over the channels, float32[n], full scale 1, of frames of one of FFmpeg's sample formats."""
    _, channels, sample_format = kind
    values = np.concatenate(frames, axis=1)
    if not sample_format.endswith("p"):  # the p says that each channel is apart: [channels, n]
        values = values.reshape(-1, channels).T
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # float64 beyond float32 becomes infinite, and is refused later
        mono: Samples = (
            values[0].astype(np.float32) if channels == 1 else values.mean(axis=0, dtype=np.float32)
        )
    if values.dtype.kind == "u":
        mono -= np.float32(128)
    if values.dtype.kind in "iu":
        mono *= np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
    return mono


def _to_model_rate(pieces: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """Resamples each run of one rate as a whole; gives no empty blocks."""
    for rate, run in itertools.groupby(pieces, key=itemgetter(0)):
        same_rate = (samples for _, samples in run)
        resampled = same_rate if rate == SAMPLE_RATE else _resample(rate, same_rate)
        yield from (block for block in resampled if len(block))


def _resample(rate: int, pieces: Iterator[Samples]) -> Iterator[Samples]:
    """The same samples as `soxr.resample(whole, rate, SAMPLE_RATE)`, piece by piece."""
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _check_block(block: Samples, start_s: float) -> None:
    if start_s + len(block) / SAMPLE_RATE > MAX_DURATION_S:
        message = f"longer than {MAX_DURATION_S / 3600:.0f} hours; split it"
        raise AudioError("decode", "too_long", message)
    peak = max(float(block.max()), -float(block.min()))
    if not peak <= MAX_AMPLITUDE:  # so that NaN fails too
        message = f"a sample in the {len(block) / SAMPLE_RATE:.0f} s from {start_s:.0f} s on is {peak:g}"
        raise AudioError("decode", "not_finite", f"{message}, where full scale is 1")
