"""FFmpeg, through PyAV: decodes the first audio stream of a file to frames, and continues after damage."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from transforms.audio.blocks import PlacedFrame, RateRun
from transforms.audio.container_lengths import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_size,
    has_audio_signature,
    mp3_has_frame_count,
    mpeg_frame_bytes,
)
from transforms.audio.damage_log import DamageLog
from transforms.audio.ogg import OggClock, ogg_end
from transforms.core.errors import AudioError
from transforms.core.types import Damage

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_DURATION_S = 100 * 3600.0  # compressed silence of a few MB could keep a worker busy for years
ENDS_WITH_FRAME = ("aac", "amr", "amrnb", "amrwb", "flac")
"""Formats whose files end with a frame: if the last one is damaged, the file was truncated."""


class Frames:
    """Iterable over the frames of a stream and their positions; skips damage, ends where reading fails.

    Attributes:
        n_channels: number of channels so far; the largest, if it changes within the file.
        ends_damaged: the last packet so far was incomplete, in a format whose files end with a complete one.
        read_error: why decoding ended early; None if the file ended.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, log: DamageLog, position: int = 0
    ) -> None:
        """Sets up decoding from the stream's start or from a position.

        Args:
            container: contains the stream.
            stream: the stream to decode.
            log: damaged packets are added to it.
            position: samples before the first one decoded; 0, or a result of `transforms.audio.pcm_seek`.
        """
        self.n_channels = 0
        self.ends_damaged = False
        self.read_error: AudioError | None = None
        self._container, self._stream, self._log, self._start = container, stream, log, position
        self._run: RateRun | None = None
        self._position = self._max_position = 0  # samples of the run so far, and at most
        self._clock = OggClock()

    @property
    def n_samples(self) -> int:
        """Samples so far, as samples at 16 kHz."""
        return self._run.n_samples(self._position) if self._run else 0

    def __iter__(self) -> Iterator[PlacedFrame]:
        """Decodes the stream; may be called once."""
        try:
            for frame in self._decoded():
                channels = frame.layout.nb_channels
                run = self._run_of(frame.sample_rate, channels)
                if self._position + frame.samples > self._max_position:
                    message = f"longer than {MAX_DURATION_S / 3600:.0f} hours; split it"
                    raise AudioError("decode", "too_long", message)
                yield PlacedFrame(run, channels, self._position, frame)
                self._position += frame.samples
        except AudioError as error:
            self.read_error = error

    def ogg_missing_s(self, file: BinaryIO) -> float:
        """Returns the seconds missing at the end of an Ogg file, once there are no more frames.

        Raises:
            AudioError: the last page of the file is missing.
        """
        end = ogg_end(file)
        if end is None:
            message = "the Ogg stream has no last page: the file was cut short"
            raise AudioError("decode", "truncated", message)
        return self._clock.end(end, self._stream.time_base)

    def _run_of(self, rate: int, channels: int) -> RateRun:
        """Returns the run that a frame belongs to; a frame of another rate starts a new run."""
        run = self._run
        if run is not None and run.rate == rate and channels <= self.n_channels:
            return run
        check_bounds(rate, channels)
        self.n_channels = max(self.n_channels, channels)
        if run is None or run.rate != rate:
            self._run = RateRun(0 if run is None else run.number + 1, rate, self.n_samples)
            self._position = self._start if run is None else 0
            self._max_position = int((MAX_DURATION_S - self._run.time_s(0)) * rate)
            return self._run
        return run

    def _decoded(self) -> Iterator[AudioFrame]:
        name = self._container.format.name
        is_ogg = name == "ogg" and len(self._container.streams) == 1
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:  # one damaged packet of thousands is skipped, as players do
                seconds = float((packet.duration or 0) * (packet.time_base or 0))
                self._record(Damage(n_damaged=1, damaged_s=seconds))
                self.ends_damaged = name in ENDS_WITH_FRAME
                continue
            if packet.size:
                self.ends_damaged = name == "mp3" and _is_cut(packet)
            for frame in frames:
                if is_ogg:
                    self._record(Damage(lost_s=self._clock.feed(frame)))
                yield frame

    def _record(self, damage: Damage) -> None:
        """Records damage at the current position."""
        self._log.add(self._run.time_s(self._position) if self._run else 0.0, damage)

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        packets = self._from_start()
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except IndexError:  # damage may look like a new stream, which PyAV does not expect
                self._record(Damage(n_damaged=1))
                packets = self._container.demux(self._stream)
            except av.FFmpegError as error:
                message = f"FFmpeg failed: {error.strerror}"
                self.read_error = AudioError("decode", "corrupt", message)
                return
            except OSError as error:
                message = f"reading broke off: {error}"
                self.read_error = AudioError("fetch", "io", message, retryable=True)
                return

    def _from_start(self) -> Iterator[Packet[AudioStream]]:
        if self._start:
            self._container.seek(self._start, stream=self._stream)
        yield from self._container.demux(self._stream)


class _BareFile:
    """A file without a name, because FFmpeg would guess the format from it.

    The methods of a spooled file are written in Python: PyAV drops an interrupt (control-C) that arrives in
    them. Those of the file in it are not.
    """

    def __init__(self, file: BinaryIO) -> None:
        inner = file._file if isinstance(file, SpooledTemporaryFile) else file
        self.read, self.seek, self.tell = inner.read, inner.seek, inner.tell


def open_container(file: BinaryIO) -> InputContainer:
    """Opens a file in FFmpeg, which may open no other file: playlists and references are refused.

    Raises:
        AudioError: the file is not audio, or too damaged to open.
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
        if has_audio_signature(head):
            message = f"begins like audio, {head!r}, but cannot be read ({error.strerror}): cut or damaged"
            raise AudioError("decode", "corrupt", message) from error
        message = f"no audio format that is known; it begins with {head!r}"
        raise AudioError("decode", "not_audio", message) from error
    except OSError as error:
        raise AudioError("fetch", "io", f"cannot be read: {error}", retryable=True) from error


def audio_stream(container: InputContainer) -> AudioStream:
    """Returns the first audio stream of a container.

    Raises:
        AudioError: there is no audio stream that can be decoded.
    """
    if not container.streams.audio:
        raise AudioError(
            "decode", "no_audio_stream", f"a {container.format.name} file without an audio stream"
        )
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError("decode", "unsupported", "encoded in a way that FFmpeg cannot decode")
    if stream.codec_context.sample_rate:  # 0 if it is known only from the first frame on
        check_bounds(stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels)
    return stream


def check_bounds(rate: int, channels: int) -> None:
    """Checks that a rate in Hz and a number of channels are plausible and do not need too much memory.

    Raises:
        AudioError: one of them is out of bounds.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        message = f"a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read"
        raise AudioError("decode", "unsupported", message)
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("decode", "unsupported", f"{channels} channels; 1 to {MAX_CHANNELS} are read")


def declared_s(container: InputContainer, stream: AudioStream, file: BinaryIO) -> float | None:
    """Returns the seconds that the header declares; None if FFmpeg can only estimate them."""
    name = container.format.name
    position = file.tell()
    try:
        if name.split(",")[0] in WITHOUT_LENGTH and not (name == "mp3" and mp3_has_frame_count(file)):
            return None
        return _stream_s(container, stream)
    finally:
        file.seek(position)


def declared_size_ratio(file: BinaryIO) -> float:
    """Returns the size that a file's header declares, divided by its real size; at least 1."""
    position = file.tell()
    try:
        n_bytes = declared_size(file)
        return 1.0 if n_bytes is None else max(1.0, n_bytes / file.seek(0, 2))
    finally:
        file.seek(position)


def _stream_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:  # else it may be that of the video
        return container.duration / av.time_base
    return None


def _is_cut(packet: Packet[AudioStream]) -> bool:
    """Whether a packet of MPEG audio is shorter than the frame that its header declares."""
    n_bytes = mpeg_frame_bytes(bytes(packet)[:4])
    return n_bytes is not None and packet.size < n_bytes
