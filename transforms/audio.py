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
from av.packet import Packet
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, Samples
from transforms.containers import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    looks_like_audio,
    mp3_counts_its_frames,
    mpeg_frame_bytes,
    promised_bytes,
)
from transforms.errors import AudioError
from transforms.mixing import Mono, to_mono, values_of
from transforms.ogg import OggClock, ogg_end

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_DURATION_S = 100 * 3600.0  # a compressed silence of a few MB could keep a worker busy for years
BLOCK_S = 30  # seconds of audio in a block, unless it has many channels
MAX_BLOCK_VALUES = 1 << 22  # samples over all channels: 16 MB as float32
TOLERANCE_S, TOLERANCE = 0.1, 0.001  # a header may be wrong by this much, absolute or relative
WHOLE_FRAMES = ("aac", "amr", "amrnb", "amrwb", "flac")
"""Formats whose files end with a frame: when the last one is damaged, the file was cut."""


class AudioReader:
    """Decodes one file; what it says of the file holds once `blocks` is exhausted.

    Attributes:
        declared_s: seconds that the header promises; None where it promises nothing.
        problem: what is missing or damaged, in words; None when nothing is.
        truncated: more than 0.1 s, and more than a thousandth, is missing or was no sound, or reading broke
            off.
        n_channels: how many there are; where their number changes, the most.
    """

    def __init__(self, file: BinaryIO, channel: int | None = None) -> None:
        """Takes a file to read.

        Args:
            file: seekable and binary; it stays the caller's to close.
            channel: the one to be listened to, from 0; None for the mean of all.
        """
        self.declared_s: float | None = None
        self.problem: str | None = None
        self.truncated = False
        self.n_channels = 0
        self._file = file
        self._channel = channel
        self._promise = 1.0  # how much longer the file says it is than it is
        self._in_boxes = False  # of MP4: fragments that are not there are declared nowhere
        self._n_samples = 0
        self._n_withheld = 0  # of them silence, until there is a real sample
        self._is_heard = False  # whether there was one
        self._n_damaged = 0
        self._ends_damaged = False
        self._damaged_s = self._bad_s = self._cancelled_s = 0.0
        self._n_bad = 0
        self._clock = OggClock()
        self._broke_off: AudioError | None = None

    @property
    def decoded_s(self) -> float:
        """Seconds that have been decoded."""
        return self._n_samples / SAMPLE_RATE

    def blocks(self) -> Iterator[Samples]:
        """Decodes from the start to the end, or to where the file breaks off.

        Yields:
            float32[n], n > 0, one channel, 16 kHz, finite; about 30 s each. Samples above full scale stay as
            they are; those that are no sound (NaN, infinite, beyond a million) are silence. Channels that
            cancel each other are not averaged: the loudest of them is taken.

        Raises:
            AudioError: not one sample could be decoded, or there is no such channel.
        """
        try:
            with open_container(self._file) as container:
                stream = _audio_stream(container)
                self.declared_s = _declared_s(container, stream, self._file)
                self._promise = _promise(self._file)
                self._in_boxes = container.format.name.startswith("mov")
                for block in _to_model_rate(self._pieces(container, stream)):
                    self._check_length(block)
                    yield from self._heard(block)
                if container.format.name == "ogg":
                    self._end_ogg(stream)
        except AudioError as error:
            self._broke_off = self._broke_off or error
        if not self._n_samples or not self._is_heard:
            raise self._nothing()
        self._conclude()

    def _end_ogg(self, stream: AudioStream) -> None:
        end = ogg_end(self._file)
        if end is None:
            message = "the Ogg stream has no last page: the file was cut short"
            raise AudioError("decode", "truncated", message)
        self._clock.end(end, stream.time_base)

    def _heard(self, block: Samples) -> Iterator[Samples]:
        """Holds silence back until there is a sample: no channel is an error, and not silence."""
        self._n_samples += len(block)
        if not self._is_heard:
            self._n_withheld += len(block)
            return
        while self._n_withheld:
            n_samples = min(self._n_withheld, BLOCK_S * SAMPLE_RATE)
            yield np.zeros(n_samples, np.float32)
            self._n_withheld -= n_samples
        yield block

    def _pieces(self, container: InputContainer, stream: AudioStream) -> Iterator[tuple[int, Samples]]:
        """Gives (rate, mono samples) for runs of frames that are alike, at most a block at a time."""
        for kind, frames in itertools.groupby(self._frames(container, stream), key=_kind):
            rate, channels, _ = kind
            _check_bounds(rate, channels)
            self.n_channels = max(self.n_channels, channels)
            limit = min(BLOCK_S * rate, MAX_BLOCK_VALUES // channels)
            waiting: list[NDArray[Any]] = []
            n_waiting = 0
            for frame in frames:
                waiting.append(values_of(frame))
                n_waiting += frame.samples
                if n_waiting >= limit:
                    yield rate, self._mono(waiting, rate)
                    waiting, n_waiting = [], 0
            if waiting:
                yield rate, self._mono(waiting, rate)

    def _mono(self, waiting: list[NDArray[Any]], rate: int) -> Samples:
        mono: Mono = to_mono(np.concatenate(waiting, axis=1), self._channel)
        self._is_heard |= mono.is_heard
        self._n_bad += mono.n_bad
        self._bad_s += mono.n_bad / rate
        self._cancelled_s += mono.is_cancelled * len(mono.samples) / rate
        return mono.samples

    def _frames(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        is_ogg = container.format.name == "ogg" and len(container.streams) == 1
        for packet in self._packets(container, stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:  # one damaged packet of thousands: players skip it, and so do we
                self._n_damaged += 1
                self._damaged_s += float((packet.duration or 0) * (packet.time_base or 0))
                self._ends_damaged = container.format.name in WHOLE_FRAMES
                continue
            if packet.size:
                self._ends_damaged = container.format.name == "mp3" and _is_cut(packet)
            for frame in frames:
                if is_ogg:
                    self._clock.hear(frame)
                yield frame

    def _packets(self, container: InputContainer, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
        packets = container.demux(stream)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except IndexError:  # damage may look like a new stream, which PyAV does not expect: on behind it
                self._n_damaged += 1
                packets = container.demux(stream)
            except av.FFmpegError as error:
                self._broke_off = AudioError("decode", "corrupt", f"FFmpeg gave up: {error.strerror}")
                return
            except OSError as error:
                self._broke_off = AudioError("fetch", "io", f"reading broke off: {error}", retryable=True)
                return

    def _check_length(self, block: Samples) -> None:
        if self.decoded_s + len(block) / SAMPLE_RATE > MAX_DURATION_S:
            message = f"longer than {MAX_DURATION_S / 3600:.0f} hours; split it"
            raise AudioError("decode", "too_long", message)

    def _nothing(self) -> AudioError:
        """Why there is not one sample."""
        if self._channel is not None and 0 < self.n_channels <= self._channel:
            message = (
                f"there is no channel {self._channel}, as the file has {self.n_channels}, counted from 0; "
                "choose another one with --channels, or mix"
            )
            return AudioError("decode", "no_such_channel", message)
        if self._broke_off is not None:
            return self._broke_off
        if self._n_bad:
            message = f"none of {self._n_bad} samples is a finite number within a million times full scale"
            return AudioError("decode", "not_finite", message)
        if self._n_damaged:
            return AudioError("decode", "corrupt", f"none of {self._n_damaged} packets could be decoded")
        return AudioError("decode", "empty", "the file holds no samples")

    def _conclude(self) -> None:
        """Says what is missing, once there is no more to come."""
        is_cut = self._ends_damaged
        if self._promise > 1:
            is_cut |= self._in_boxes or self.declared_s is None
            self.declared_s = max(self.declared_s or 0.0, self.decoded_s * self._promise)
        declared_s = self.declared_s or 0.0
        is_short = declared_s - self.decoded_s > max(TOLERANCE_S, TOLERANCE * declared_s)
        problems = [self._broke_off.message] if self._broke_off else []
        if is_cut:
            problems.append("the end of the file is not whole: it was cut short")
        if self._n_damaged:
            problems.append(f"{self._n_damaged} damaged packets were skipped")
        if self._clock.lost_s > TOLERANCE_S:
            problems.append(f"{self._clock.lost_s:.2f} s are missing in between")
        if is_short:
            problems.append(f"{self.decoded_s:.2f} s of {declared_s:.2f} s declared could be decoded")
        if self._n_bad:
            problems.append(f"{self._n_bad} samples that are not finite, or absurd, were taken for silence")
        if self._cancelled_s:
            problems.append(
                f"channels cancel each other for {self._cancelled_s:.2f} s: the loudest was taken there"
            )
        missing_s = max(self._damaged_s, self._clock.lost_s, self._bad_s)
        self.truncated = self._broke_off is not None or is_cut or is_short or missing_s > TOLERANCE_S
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
        return _stream_s(container, stream)
    finally:
        file.seek(position)


def _promise(file: BinaryIO) -> float:
    """How much longer a file says it is than it is, as a factor of at least 1."""
    position = file.tell()
    try:
        promised = promised_bytes(file)
        return 1.0 if promised is None else max(1.0, promised / file.seek(0, 2))
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


def _is_cut(packet: Packet[AudioStream]) -> bool:
    """Whether a packet of MPEG audio is shorter than its frame."""
    n_bytes = mpeg_frame_bytes(bytes(packet)[:4])
    return n_bytes is not None and packet.size < n_bytes


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
