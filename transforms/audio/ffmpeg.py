"""FFmpeg, by way of PyAV: a file to the frames of its first audio stream, on behind damage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from transforms.audio.blocks import PlacedFrame, Run
from transforms.audio.container_lengths import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    looks_like_audio,
    mp3_counts_its_frames,
    mpeg_frame_bytes,
    promised_bytes,
)
from transforms.audio.damage_log import DamageLog
from transforms.audio.ogg import OggClock, ogg_end
from transforms.core.errors import AudioError
from transforms.core.types import Damage

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_DURATION_S = 100 * 3600.0  # a compressed silence of a few MB could keep a worker busy for years
WHOLE_FRAMES = ("aac", "amr", "amrnb", "amrwb", "flac")
"""Formats whose files end with a frame: when the last one is damaged, the file was cut."""


class Frames:
    """The frames of one stream, each with its place, on behind damage; they end where reading breaks off.

    Attributes:
        n_channels: how many there were so far; where their number changes, the most.
        ends_damaged: the last packet so far was not whole, of a format whose files end with a whole one.
        broke_off: why there are no more; None where the file just ended.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, log: DamageLog, place: int = 0
    ) -> None:
        """Takes a stream from its start on, or from a place.

        Args:
            container: it is in this.
            stream: one of it.
            log: takes the damage of packets.
            place: samples before the first one; not 0 only where `transforms.audio.pcm_seek` found it.
        """
        self.n_channels = 0
        self.ends_damaged = False
        self.broke_off: AudioError | None = None
        self._container, self._stream, self._log, self._place = container, stream, log, place
        self._run: Run | None = None
        self._at = self._most = 0  # samples of the run that came, and that may come
        self._clock = OggClock()

    @property
    def n_samples(self) -> int:
        """How many there were so far, as samples at 16 kHz."""
        return self._run.n_samples(self._at) if self._run else 0

    def __iter__(self) -> Iterator[PlacedFrame]:
        """Decodes, once."""
        try:
            for frame in self._decoded():
                channels = frame.layout.nb_channels
                run = self._run_of(frame.sample_rate, channels)
                if self._at + frame.samples > self._most:
                    message = f"longer than {MAX_DURATION_S / 3600:.0f} hours; split it"
                    raise AudioError("decode", "too_long", message)
                yield PlacedFrame(run, channels, self._at, frame)
                self._at += frame.samples
        except AudioError as error:
            self.broke_off = error

    def ogg_lost_s(self, file: BinaryIO) -> float:
        """Seconds that are missing at the end of an Ogg file, once there are no more frames.

        Raises:
            AudioError: its end is missing.
        """
        end = ogg_end(file)
        if end is None:
            message = "the Ogg stream has no last page: the file was cut short"
            raise AudioError("decode", "truncated", message)
        return self._clock.end(end, self._stream.time_base)

    def _run_of(self, rate: int, channels: int) -> Run:
        """Which a frame belongs to: one of another rate begins the next."""
        run = self._run
        if run is not None and run.rate == rate and channels <= self.n_channels:
            return run
        check_bounds(rate, channels)
        self.n_channels = max(self.n_channels, channels)
        if run is None or run.rate != rate:
            self._run = Run(0 if run is None else run.number + 1, rate, self.n_samples)
            self._at = self._place if run is None else 0
            self._most = int((MAX_DURATION_S - self._run.time_s(0)) * rate)
            return self._run
        return run

    def _decoded(self) -> Iterator[AudioFrame]:
        name = self._container.format.name
        is_ogg = name == "ogg" and len(self._container.streams) == 1
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:  # one damaged packet of thousands: players skip it, and so do we
                seconds = float((packet.duration or 0) * (packet.time_base or 0))
                self._tell(Damage(n_damaged=1, damaged_s=seconds))
                self.ends_damaged = name in WHOLE_FRAMES
                continue
            if packet.size:
                self.ends_damaged = name == "mp3" and _is_cut(packet)
            for frame in frames:
                if is_ogg:
                    self._tell(Damage(lost_s=self._clock.hear(frame)))
                yield frame

    def _tell(self, damage: Damage) -> None:
        """Of what was found at the place that was reached."""
        self._log.add(self._run.time_s(self._at) if self._run else 0.0, damage)

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        packets = self._from_place()
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except IndexError:  # damage may look like a new stream, which PyAV does not expect: on behind it
                self._tell(Damage(n_damaged=1))
                packets = self._container.demux(self._stream)
            except av.FFmpegError as error:
                message = f"FFmpeg gave up: {error.strerror}"
                self.broke_off = AudioError("decode", "corrupt", message)
                return
            except OSError as error:
                message = f"reading broke off: {error}"
                self.broke_off = AudioError("fetch", "io", message, retryable=True)
                return

    def _from_place(self) -> Iterator[Packet[AudioStream]]:
        if self._place:
            self._container.seek(self._place, stream=self._stream)
        yield from self._container.demux(self._stream)


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


def audio_stream(container: InputContainer) -> AudioStream:
    """The first one.

    Raises:
        AudioError: there is none that can be decoded.
    """
    if not container.streams.audio:
        raise AudioError("decode", "no_audio_stream", f"a {container.format.name} file without any sound")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError("decode", "unsupported", "encoded in a way that FFmpeg cannot decode")
    if stream.codec_context.sample_rate:  # 0 where only the first frame will tell
        check_bounds(stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels)
    return stream


def check_bounds(rate: int, channels: int) -> None:
    """Refuses what would not be sound, or take too much memory.

    Raises:
        AudioError: a rate in Hz, or a number of channels, that is not read.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        message = f"a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read"
        raise AudioError("decode", "unsupported", message)
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("decode", "unsupported", f"{channels} channels; 1 to {MAX_CHANNELS} are read")


def declared_s(container: InputContainer, stream: AudioStream, file: BinaryIO) -> float | None:
    """Seconds that the header promises; None where FFmpeg can but estimate."""
    name = container.format.name
    position = file.tell()
    try:
        if name.split(",")[0] in WITHOUT_LENGTH and not (name == "mp3" and mp3_counts_its_frames(file)):
            return None
        return _stream_s(container, stream)
    finally:
        file.seek(position)


def promise(file: BinaryIO) -> float:
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


def _is_cut(packet: Packet[AudioStream]) -> bool:
    """Whether a packet of MPEG audio is shorter than its frame."""
    n_bytes = mpeg_frame_bytes(bytes(packet)[:4])
    return n_bytes is not None and packet.size < n_bytes
