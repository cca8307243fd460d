"""Compares the presentation times of frames with the samples decoded, so that each sample lies at its time.

Audio may begin later than the pictures, and times jump where packets were lost: FFmpeg decodes what there is,
one frame after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition

FORMATS = ("asf", "flv", "matroska", "mov", "mpeg", "mpegts", "mxf", "nut", "ogg")
"""FFmpeg's first names of the formats that store times; in all others, FFmpeg counts samples or bytes."""

MIN_GAP_S = 0.1
"""Shorter gaps and shorter delays at the start change nothing: encoders and containers are not more exact."""

MIN_STEP_S = 0.005
"""Shorter steps between two frames are rounding, or the drift of a clock, and no sign of a missing packet."""

MAX_GAP_S = 3600.0
"""Longer jumps are no gaps: times begin anew, as in recordings that were joined, or are absurd."""

RESTART_S = 10.0
"""Times that went back are taken for new ones after so many seconds of them; before, they may be an error."""


class Gap(NamedTuple):
    """What precedes a frame: seconds of silence, and seconds for which the stream has no samples."""

    silence_s: float = 0.0
    lost_s: float = 0.0


NO_GAP = Gap()


class PresentationClock:
    """Finds the gaps between the frames of a stream; they are given to it one after the other.

    A gap is what jumps of the times add up to, and never more than the times are ahead of the samples. Times
    that go back, as where recordings were joined or packets overlap, are no gap.

    Args:
        is_timed: whether the container stores times; else there are no gaps.
        origin_s: start of the earliest other stream of the container, in seconds; None if there is none.
        first_page_is_untimed: packets at the offset of the first one have no times, as of FLAC in Ogg: FFmpeg
            counts them from 0, even if a live stream was joined later.

    Attributes:
        end_s: presentation time of the end of the last frame; None if unknown.
        delay_s: seconds of silence before the first frame.
    """

    def __init__(
        self, is_timed: bool = True, origin_s: float | None = None, first_page_is_untimed: bool = False
    ) -> None:
        self.end_s: float | None = None
        self.delay_s = 0.0
        self._is_timed, self._origin_s = is_timed, origin_s
        self._rate: int | None = None
        self._unit_s: float | None = None
        self._first_packet_s: float | None = None
        self._first_page_is_untimed = first_page_is_untimed
        self._first_offset: int | None = None
        self._is_untimed = False  # the current packet has no time
        self._has_begun = False
        self._ahead_s = 0.0  # by which the times are ahead of the samples
        self._jumps_s = 0.0  # of that, in jumps
        self._behind_s = 0.0  # seconds since the times went back

    def start(self, packet: Packet[AudioStream]) -> None:
        """Accepts a packet, before its frames. The decoder may drop samples of the first one."""
        if self._first_packet_s is None and packet.pts is not None:
            self._first_packet_s = float(packet.pts * packet.time_base)
        if self._first_page_is_untimed:
            self._first_offset = packet.pos if self._first_offset is None else self._first_offset
            self._is_untimed = packet.pos == self._first_offset

    def feed(self, frame: AudioFrame) -> Gap:
        """Accepts the next frame; returns what is missing before it."""
        if not self._is_timed:
            return NO_GAP
        self._rate = self._rate or frame.sample_rate
        if frame.sample_rate != self._rate:  # in Ogg, a file of another rate was appended, with another unit
            self.end_s = None
            return NO_GAP
        duration_s = frame.samples / frame.sample_rate
        if self._unit_s is None and frame.time_base is not None:
            self._unit_s = float(frame.time_base)  # the same in all frames of a stream
        if frame.pts is None or self._unit_s is None or self._is_untimed:
            self.end_s = None if self.end_s is None else self.end_s + duration_s
            return NO_GAP
        start_s = frame.pts * self._unit_s
        gap = self._gap(start_s, duration_s) if self._has_begun else self._delay(start_s)
        self._has_begun, self.end_s = True, start_s + duration_s
        return gap

    def _delay(self, start_s: float) -> Gap:
        """Returns the silence before the first frame."""
        if self._origin_s is None:
            return NO_GAP
        first_s = start_s if self._first_packet_s is None else self._first_packet_s
        if first_s - self._origin_s <= MIN_GAP_S:
            return NO_GAP
        delay_s = start_s - self._origin_s
        if not 0 < delay_s <= MAX_GAP_S:
            return Gap(lost_s=max(delay_s, 0.0))
        self.delay_s = delay_s
        return Gap(silence_s=delay_s)

    def _gap(self, start_s: float, duration_s: float) -> Gap:
        """Returns the gap before a later frame."""
        step_s = 0.0 if self.end_s is None else start_s - self.end_s
        if self.end_s is None or step_s > MAX_GAP_S:
            self._ahead_s = self._jumps_s = 0.0
            return Gap(lost_s=step_s)
        self._ahead_s += step_s
        self._behind_s = self._behind_s + duration_s if self._ahead_s < -MIN_GAP_S else 0.0
        if self._behind_s > RESTART_S:
            self._ahead_s = self._behind_s = 0.0
        jumps_s = self._jumps_s + (step_s if step_s >= MIN_STEP_S else 0.0)
        self._jumps_s = max(min(jumps_s, self._ahead_s), 0.0)
        if self._jumps_s <= MIN_GAP_S:
            return NO_GAP
        gap_s, self._jumps_s = self._jumps_s, 0.0
        self._ahead_s -= gap_s
        return Gap(gap_s, gap_s)


def clock_of(container: InputContainer, stream: AudioStream) -> PresentationClock:
    """Returns the clock of a stream; others of sound or pictures decide whether it begins late."""
    starts_s = [
        float(other.start_time * other.time_base)
        for other in container.streams
        if other.index != stream.index
        and other.type in ("audio", "video")
        and not other.disposition & Disposition.attached_pic
        and other.start_time is not None
        and other.time_base is not None
    ]
    name = container.format.name.split(",")[0]
    is_flac_in_ogg = name == "ogg" and stream.codec_context.name == "flac"
    return PresentationClock(name in FORMATS, min(starts_s, default=None), is_flac_in_ogg)


def silent_frames(like: AudioFrame, n_samples: int) -> Iterator[AudioFrame]:
    """Yields frames of silence of at most a second, in the format and number of channels of another frame."""
    rate = like.sample_rate
    second = _silent_frame(like, rate) if n_samples >= rate else None
    for _ in range(n_samples // rate):
        if second is not None:
            yield second
    if n_samples % rate:
        yield _silent_frame(like, n_samples % rate)


def _silent_frame(like: AudioFrame, n_samples: int) -> AudioFrame:
    channels = like.layout.nb_channels
    frame = AudioFrame(format=like.format.name, layout=f"{channels} channels", samples=n_samples)
    frame.sample_rate = like.sample_rate
    silence = b"\x80" if like.format.name.startswith("u8") else b"\0"
    for index in range(channels if like.format.is_planar else 1):
        plane = AudioPlane(frame, index)
        plane.update(silence * plane.buffer_size)
    return frame
