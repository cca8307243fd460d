"""FFmpeg, through PyAV: decodes an audio stream of a file to frames, and continues after damage."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from transforms.audio.blocks import MAX_BLOCK_VALUES, PlacedFrame, RateRun
from transforms.audio.container_lengths import (
    WITH_LENGTH,
    WITHOUT_LENGTH,
    declared_size,
    end_of_segment,
    has_audio_signature,
)
from transforms.audio.damage_log import DamageLog
from transforms.audio.downmix import MixWeights, mix_weights
from transforms.audio.mp4_counts import declared_samples, is_mp4
from transforms.audio.mpeg_audio import mp3_declared_s, mpeg_frame
from transforms.audio.ogg import ogg_end
from transforms.audio.presentation_clock import NO_GAP, clock_of, silent_frames
from transforms.audio.raw_gsm import HEAD_BYTES, is_raw_gsm
from transforms.core.damage import NO_DAMAGE, Damage
from transforms.core.errors import AudioError

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_DURATION_S = 100 * 3600.0  # compressed silence of a few MB could keep a worker busy for years
MAX_INDEX_SAMPLES = 10_000_000  # that an MP4 may declare whatever its size: 300 MB in FFmpeg
ENDS_WITH_FRAME = ("aac", "amr", "amrnb", "amrwb", "flac", "gsm")
"""Formats whose files end with a frame: if the last one is damaged, the file was truncated."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""Beginnings of what players skip in a file of frames."""
DECLARED_BY_STREAM = ("mov", "mxf")
"""Formats that declare a length for each stream; in others, FFmpeg may take that of the longest for all."""


class Frames:
    """Iterable over the frames of a stream and their positions; skips damage, ends where reading fails.

    Where the stream begins late or has a gap, frames of silence come first.

    Attributes:
        n_channels: number of channels so far; the largest, if it changes within the file.
        ends_damaged: the last packet so far was incomplete, in a format whose files end with a complete one.
        read_error: why decoding ended early; None if the file ended.
        n_bytes_read: end of the last packet in the file, as far as known.
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
        self.n_bytes_read = 0
        self._container, self._stream, self._log, self._start = container, stream, log, position
        self._run: RateRun | None = None
        self._position = self._max_position = 0  # samples of the run so far, and at most
        self._clock = clock_of(container, stream)
        self._is_only_stream = len(container.streams) == 1

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
                weights = mix_weights(frame.layout.name) if channels > 2 else None
                for silence in self._silence_before(frame):
                    yield self._placed(run, channels, silence, weights)
                yield self._placed(run, channels, frame, weights)
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
        unit, end_s = self._stream.time_base, self._clock.end_s
        if unit is None or end_s is None or not self._is_only_stream:
            return 0.0
        return max(0.0, float(end * unit) - end_s)

    @property
    def delay_s(self) -> float:
        """Seconds of silence before the first frame of the stream."""
        return self._clock.delay_s

    def _placed(
        self, run: RateRun, channels: int, frame: AudioFrame, weights: MixWeights | None
    ) -> PlacedFrame:
        """Returns a frame with its position, and advances the position."""
        if self._position + frame.samples > self._max_position:
            message = f"longer than {MAX_DURATION_S / 3600:.0f} hours; split it"
            raise AudioError("decode", "too_long", message)
        placed = PlacedFrame(run, channels, self._position, frame, weights)
        self._position += frame.samples
        return placed

    def _silence_before(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """Returns the silence that precedes a frame, by its presentation time."""
        gap = self._clock.feed(frame)
        if gap is NO_GAP:
            return iter(())
        self._record(Damage(lost_s=gap.lost_s))
        return silent_frames(frame, round(gap.silence_s * frame.sample_rate))

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
        name, pending = self._container.format.name, NO_DAMAGE
        for packet in self._packets():
            self._clock.start(packet)
            self.n_bytes_read = max(self.n_bytes_read, (packet.pos or 0) + packet.size)
            try:
                frames = packet.decode()
            except av.FFmpegError:  # one damaged packet of thousands is skipped, as players do
                content = bytes(packet)
                if content.startswith(TAGS):  # between two files that were joined
                    continue
                seconds = float((packet.duration or 0) * (packet.time_base or 0))
                pending += Damage(n_damaged=1, damaged_s=min(max(seconds, 0.0), MAX_DURATION_S))
                if not content or content.strip(b"\0"):  # else zeros, which are no damage at the end
                    self._record(pending)
                    pending, self.ends_damaged = NO_DAMAGE, name in ENDS_WITH_FRAME
                continue
            if packet.size:
                self.ends_damaged = name == "mp3" and _is_cut(packet)
                if pending is not NO_DAMAGE:
                    self._record(pending)
                    pending = NO_DAMAGE
            yield from frames

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
    content = file.read(HEAD_BYTES)
    head = content[:16]
    file.seek(0)
    options = {
        "format_whitelist": ",".join(WITH_LENGTH + WITHOUT_LENGTH),
        "protocol_whitelist": "none",
    }
    try:
        if is_mp4(head):
            _check_samples(file)
            file.seek(0)
        name = "gsm" if is_raw_gsm(content) else None
        return av.open(_BareFile(file), "r", name, container_options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        if has_audio_signature(head):
            message = f"begins like audio, {head!r}, but cannot be read ({error.strerror}): cut or damaged"
            raise AudioError("decode", "corrupt", message) from error
        message = f"no audio format that is known; it begins with {head!r}"
        raise AudioError("decode", "not_audio", message) from error
    except OSError as error:
        raise AudioError("fetch", "io", f"cannot be read: {error}", retryable=True) from error


def _check_samples(file: BinaryIO) -> None:
    """Checks that the index of an MP4 needs no more memory than its file gives reason for.

    Raises:
        AudioError: it declares more samples than the file has bytes.
    """
    n_samples, n_bytes = declared_samples(file), file.seek(0, 2)
    if n_samples > max(n_bytes, MAX_INDEX_SAMPLES):
        message = f"declares {n_samples} samples in {n_bytes} bytes: cut or damaged"
        raise AudioError("decode", "corrupt", message)


def audio_stream(container: InputContainer, number: int = 0) -> AudioStream:
    """Returns an audio stream of a container, ready to be decoded.

    Args:
        container: contains it.
        number: its number among the audio streams, from 0.

    Raises:
        AudioError: there is no audio stream that can be decoded.
    """
    if not container.streams.audio:
        raise AudioError(
            "decode", "no_audio_stream", f"a {container.format.name} file without an audio stream"
        )
    stream = container.streams.audio[number]
    if stream.codec_context is None:
        raise AudioError("decode", "unsupported", "encoded in a way that FFmpeg cannot decode")
    channels = _plain_layout(stream)
    if stream.codec_context.sample_rate:  # 0 if it is known only from the first frame on
        check_bounds(stream.codec_context.sample_rate, channels)
    limits = {"max_samples": str(MAX_BLOCK_VALUES)}  # of a frame, over all channels
    stream.codec_context.options = {**stream.codec_context.options, **limits}
    return stream


def _plain_layout(stream: AudioStream) -> int:
    """Returns the number of channels; those in an unusual order become channels without places.

    PyAV's layouts of such an order share memory that each of them frees: the process would crash.
    """
    layout = stream.codec_context.layout
    channels, is_unusual = layout.nb_channels, " channels (" in layout.name
    del layout
    if is_unusual:
        stream.codec_context.layout = f"{channels} channels"
    return channels


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
    """Returns the seconds that the header declares, without a delay; None if FFmpeg only estimates them."""
    name = container.format.name
    position = file.tell()
    try:
        if name == "mp3":
            return mp3_declared_s(file)
        return None if name.split(",")[0] in WITHOUT_LENGTH else _stream_s(container, stream)
    finally:
        file.seek(position)


def needs_bytes(container: InputContainer, stream: AudioStream, file: BinaryIO) -> int:
    """Returns the size of file that the index of an MP4 needs, or that Matroska declares; else 0.

    Matroska declares the length of the longest stream: of several, only the size shows that the file was cut.
    """
    if container.format.name.startswith("matroska"):
        try:
            return 0 if _stream_s(container, stream) else end_of_segment(file)
        except OSError:  # decoding has reported it
            return 0
    if not container.format.name.startswith("mov") or not len(stream.index_entries):
        return 0
    last = stream.index_entries[-1]
    return last.pos + last.size


def declared_size_ratio(file: BinaryIO) -> float:
    """Returns the size that a file's header declares, divided by its real size; 1 if it declares none."""
    position = file.tell()
    try:
        n_bytes = declared_size(file)
        return 1.0 if n_bytes is None else n_bytes / file.seek(0, 2)
    except OSError:  # decoding will report it, once it gets there
        return 1.0
    finally:
        file.seek(position)


def _stream_s(container: InputContainer, stream: AudioStream) -> float | None:
    is_only_stream = len(container.streams) == 1
    has_own = is_only_stream or container.format.name.split(",")[0] in DECLARED_BY_STREAM
    if has_own and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and is_only_stream:  # else it may be that of the video
        return container.duration / av.time_base
    return None


def _is_cut(packet: Packet[AudioStream]) -> bool:
    """Whether a packet of MPEG audio is shorter than the frame that its header declares."""
    frame = mpeg_frame(bytes(packet)[:4])
    return frame is not None and packet.size < frame.n_bytes
