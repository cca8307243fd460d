"""Cuts the windows of one recording while it is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.clip import Clip
from transforms.audio.decoded_file import AudioFile
from transforms.audio.decoder import AudioDecoder
from transforms.core.audio_streams import StreamInfo
from transforms.core.cancellation import Check, check_stop
from transforms.core.clips import Clips
from transforms.core.damage import NO_DAMAGE, Damage
from transforms.core.recording_parts import Range
from transforms.core.sections import BLOCK_S
from transforms.core.types import AudioSpan, Intervals, Window
from transforms.windows.cutters import PlannedWindow, StreamState, WindowCutter
from transforms.windows.plan import WindowPlan
from transforms.windows.sample_buffer import SampleBuffer
from transforms.windows.speech_tracker import SpeechTracker
from transforms.windows.splices import in_window, joined

_BLOCK = BLOCK_S * SAMPLE_RATE


class WindowStream:
    """Cuts the windows of one recording while it is read, and reports speech and damage of its ranges.

    Args:
        file: see `AudioDecoder`.
        span: the source, and which of its windows are wanted.
        plan: how to cut it.
        first: the section to start with; 0 for a part of a file.
        check: called at each block of audio; may raise.
    """

    def __init__(
        self,
        file: AudioFile,
        span: AudioSpan,
        plan: WindowPlan,
        first: int = 0,
        check: Check = check_stop,
    ) -> None:
        self._span, self._plan, self._first = span, plan, first
        source, sections = span.source, plan.sections
        self._is_part = source.is_part
        self._clips = Clips.of(source.clip_timestamps)
        # A part of a file is read in the blocks of the file, from the block that it starts in.
        self._origin_s = int(source.start_s or 0) // BLOCK_S * BLOCK_S
        first_s = self._origin_s if self._is_part else sections.warmup_start_s(first)
        self._decoder = AudioDecoder(
            file,
            source.channel,
            stream=source.stream,
            make_detector=plan.detector,
            takes_mono=source.is_channel and not span.split,  # a channel, by its line
            sections=sections,
            start_s=first_s,
            check=check,
        )
        self._clip = Clip(source, first_s * SAMPLE_RATE, self._clips.stop)
        self._tracker = SpeechTracker(plan.detector, sections, first, self._clips)
        self._has_started = self._has_ended = False

    @property
    def n_samples(self) -> int:
        """Samples at 16 kHz from the recording's start to where it was read.

        In the end, all of them, or those up to the end of the last clip: no more is read.
        """
        if self._has_started or not self._has_ended:
            return self._clip.n_samples
        return min(self._clip.n_samples, round(self._decoder.decoded_s * SAMPLE_RATE))

    @property
    def n_channels(self) -> int:
        """Channels of the file, as far as it was read."""
        return self._decoder.n_channels

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The audio streams of a file with several, once it was opened; see `AudioDecoder.streams`."""
        return self._decoder.streams

    def ends_before(self, time_s: int | None) -> bool:
        """Whether the recording was read to its end, or that of its last clip, and that is not behind it."""
        return self._has_ended and (time_s is None or self.n_samples <= time_s * SAMPLE_RATE)

    def windows(self, until_s: int | None = None) -> Iterator[tuple[PlannedWindow, Window | None]]:
        """Decodes the recording and cuts it; buffers at most two windows and a block of it.

        Args:
            until_s: seconds behind which no window is wanted; None for all to the recording's end.

        Yields:
            The windows wanted, in order; None in place of a window without speech. When decoding breaks off,
            the windows that could be made come first.

        Raises:
            AudioError: nothing could be decoded.
        """
        cutters = self._plan.cutters(self._span, self._first)
        first = self._plan.sections.warmup_start_s(self._first) * SAMPLE_RATE
        until = None if until_s is None else until_s * SAMPLE_RATE
        for planned, samples, speech in cut_windows(self._blocks(), self._tracker, cutters, first, until):
            audio_id, language = self._span.source.audio_id, self._span.language
            window = Window(
                audio_id, planned.index, planned.stretches, samples, planned.n_unshared, language, speech
            )
            if self._span.is_whole:
                window = replace(window, section=self._plan.sections.at(planned.position / SAMPLE_RATE))
            yield planned, None if speech == () else window

    def _blocks(self) -> Iterator[Samples]:
        for block in self._clip.blocks(self._decoder.blocks()):
            self._has_started = True
            yield block
        self._has_ended = True

    def n_speech_samples(self, start_s: int, stop_s: int | None) -> int | None:
        """See `SpeechTracker.n_speech_samples`."""
        return self._tracker.n_speech_samples(start_s, stop_s)

    def damage(self, start_s: int, stop_s: int | None) -> Damage:
        """Returns what is missing or damaged in a range of the recording; see `AudioDecoder.damage`.

        Where it has clips, only what is in the blocks of clips counts: others need not have been read.
        """
        found, origin_s = NO_DAMAGE, self._origin_s
        for from_s, to_s in self._damage_ranges(start_s, stop_s):
            found += self._decoder.damage(origin_s + from_s, None if to_s is None else origin_s + to_s)
        return found if stop_s is not None else found + Damage(read_error=self._clip.problem)

    def _damage_ranges(self, start_s: int, stop_s: int | None) -> Iterator[Range]:
        """Yields the blocks in a range that clips have samples of; without stop, to where reading ended."""
        at_s, offset = start_s, 0
        if self._is_part:  # its blocks are those of the file
            offset = round((self._span.source.start_s or 0.0) * SAMPLE_RATE) - self._origin_s * SAMPLE_RATE
        for start, stop in self._clips.intervals:
            from_s = max((start + offset) // _BLOCK * BLOCK_S, at_s)
            to_s = max(-(-(stop + offset) // _BLOCK) * BLOCK_S, at_s)
            if stop == self._clips.stop and stop_s is None:
                yield from_s, None
            elif from_s < (to_s if stop_s is None else min(to_s, stop_s)):
                yield from_s, to_s if stop_s is None else min(to_s, stop_s)
                at_s = to_s

    @property
    def declared_s(self) -> float | None:
        """Seconds that the file's header declares; None where it declares none, and for a part of a file."""
        return None if self._is_part else self._decoder.declared_s


def cut_windows(
    blocks: Iterable[Samples],
    tracker: SpeechTracker,
    cutters: Sequence[WindowCutter],
    first: int = 0,
    until: int | None = None,
) -> Iterator[tuple[PlannedWindow, Samples, Intervals | None]]:
    """Cuts windows out of consecutive blocks of samples, until no cutter expects another one.

    Args:
        blocks: float32[any] each; together they are the recording, from `first` on.
        tracker: speech tracker of this recording, starting there.
        cutters: cutters of this recording.
        first: the sample that the blocks start with.
        until: the sample from which on no window is wanted; None for all.

    Yields:
        Each window; its samples, a new array; and its intervals of speech, in samples of the window, or None
        without VAD. The result does not depend on how the blocks are cut.
    """
    buffer = SampleBuffer(first)
    for state in _states(blocks, tracker, buffer):
        for planned in itertools.chain.from_iterable(cutter.windows(state) for cutter in cutters):
            if until is not None and planned.position >= until:
                continue
            yield planned, buffer.take(planned.stretches), _speech_in(planned, tracker)
        cutters = [
            cutter for cutter in cutters if not cutter.done and (until is None or cutter.position < until)
        ]
        if not cutters:
            return
        buffer.keep(joined(sorted(itertools.chain.from_iterable(cutter.needed for cutter in cutters))))
        tracker.forget(min(cutter.speech_needed_from for cutter in cutters))


def _speech_in(planned: PlannedWindow, tracker: SpeechTracker) -> Intervals | None:
    """Returns the intervals of speech of a window, in samples of the window; None without VAD."""
    if planned.intervals is not None:
        return in_window(planned.intervals)
    found: list[tuple[int, int]] = []
    places = in_window(planned.stretches)
    for (start, stop), (place, _) in zip(planned.stretches, places, strict=True):
        speech = tracker.speech(start, stop - start)
        if speech is None:
            return None
        found += [(place + begin, place + end) for begin, end in speech]
    return tuple(found)


def _states(blocks: Iterable[Samples], tracker: SpeechTracker, buffer: SampleBuffer) -> Iterator[StreamState]:
    """Buffers each block and detects speech in it; yields the state of the recording after it."""
    for block in blocks:
        buffer.add(block)
        yield StreamState(buffer.n_read, tracker.feed(block), tracker.settled, ended=False)
    yield StreamState(buffer.n_read, tracker.finish(), tracker.settled, ended=True)
