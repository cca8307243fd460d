"""Encoded audio of any kind into blocks of mono samples at 16 kHz, from any 30 s of a recording on.

FFmpeg reads all formats, by content and never by extension. It gives the same samples as libsndfile for
WAV, AIFF and FLAC at the same speed, and goes on where libsndfile stops: behind a damaged FLAC frame, and
in a WAV whose recorder died before it wrote the length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import itemgetter
from typing import BinaryIO

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.blocks import Run, blocks_of
from transforms.audio.damage_log import DamageLog
from transforms.audio.downmix import to_mono
from transforms.audio.ffmpeg import Frames, audio_stream, declared_s, open_container, promise
from transforms.audio.pcm_seek import exact_place
from transforms.audio.resampling import resample
from transforms.core.errors import AudioError
from transforms.core.recording_parts import truncated_and_problem
from transforms.core.sections import BLOCK_S, Chapters
from transforms.core.types import Damage

USUAL = Chapters()


class AudioReader:
    """Decodes one file; what it says of the file holds once `blocks` is exhausted.

    Attributes:
        declared_s: seconds that the header promises; None where it promises nothing.
        n_channels: how many there are; where their number changes, the most.
        problem: what is missing or damaged from `start_s` on, in words; None when nothing is.
        truncated: more than 0.1 s, and more than a thousandth, is missing or was no sound, or reading broke
            off.
    """

    def __init__(
        self, file: BinaryIO, channel: int | None = None, *, chapters: Chapters = USUAL, start_s: int = 0
    ) -> None:
        """Takes a file to read.

        Args:
            file: seekable and binary; it stays the caller's to close.
            channel: the one to be listened to, from 0; None for the mean of all.
            chapters: where the resampler begins anew, so that reading may be taken up there.
            start_s: where to begin; what it gives from there on is bit for bit what a reader from 0 does
                where a chapter is heard from there, and where nothing is resampled.

        Raises:
            ValueError: `start_s` is no multiple of `BLOCK_S`, or negative.
        """
        if start_s % BLOCK_S or start_s < 0:
            raise ValueError(f"reading from {start_s} s: it must be a multiple of {BLOCK_S} s")
        self.declared_s: float | None = None
        self.n_channels = 0
        self.problem: str | None = None
        self.truncated = False
        self._file = file
        self._channel = channel
        self._chapters = chapters
        self._start_s = start_s
        self._log = DamageLog()
        self._promise = 1.0  # how much longer the file says it is than it is
        self._n_samples = 0  # from the file's start
        self._n_withheld = 0  # of them silence, until there is a real sample
        self._is_heard = False  # whether there was one
        self._broke_off: AudioError | None = None

    @property
    def decoded_s(self) -> float:
        """Seconds that have been decoded, counted from the file's start wherever reading began."""
        return self._n_samples / SAMPLE_RATE

    @property
    def _lead_s(self) -> int:
        """From where on blocks are made: the resampler hears the end of the one before the start."""
        return max(self._start_s - BLOCK_S, 0)

    def blocks(self) -> Iterator[Samples]:
        """Decodes from `start_s` to the end, or to where the file breaks off.

        Yields:
            float32[n], n > 0, one channel, 16 kHz, finite; about 30 s each; none where the file ends before
            `start_s`. Samples above full scale stay as they are; those that are no sound (NaN, infinite,
            beyond a million) are silence. Channels that cancel each other are not averaged: the loudest of
            them is taken.

        Raises:
            AudioError: not one sample could be decoded, or there is no such channel.
        """
        try:
            place = exact_place(self._file, self._lead_s)
            with open_container(self._file) as container:
                stream = audio_stream(container)
                self.declared_s = declared_s(container, stream, self._file)
                self._promise = promise(self._file)
                frames = Frames(container, stream, self._log, place)
                yield from self._resampled(frames)
                self._end(frames, container.format.name)
        except AudioError as error:
            self._broke_off = self._broke_off or error
        if not self._n_samples or self._n_withheld:
            raise self._nothing()
        self._conclude()

    def damage(self, start_s: int, stop_s: int | None) -> Damage:
        """What is wrong with a range, once its samples were given.

        Args:
            start_s: where it begins, a multiple of `BLOCK_S`; not before the reader's own.
            stop_s: where it ends, a multiple of `BLOCK_S`; None for all that is left, and what shows at the
                end of the file alone.
        """
        return self._log.between(start_s, stop_s)

    def _resampled(self, frames: Frames) -> Iterator[Samples]:
        """Gives what is behind `start_s`; of runs behind the first, all is resampled to come to it."""
        start = self._start_s * SAMPLE_RATE
        for run, pieces in itertools.groupby(self._mono(frames), key=itemgetter(0)):
            is_first = run.number == 0
            at = start if is_first else run.n_before
            placed = ((place, samples) for _, place, samples in pieces)
            for block in resample(placed, run.rate, self._section_starts() if is_first else (0,)):
                wanted = block[max(start - at, 0) :]
                at += len(block)
                if len(wanted):
                    self._n_samples = at
                    yield from self._heard(wanted)

    def _section_starts(self) -> Iterator[int]:
        """Seconds, without end."""
        yield self._start_s
        for number in itertools.count(1):
            if self._chapters.heard_from_s(number) > self._start_s:
                yield self._chapters.heard_from_s(number)

    def _heard(self, block: Samples) -> Iterator[Samples]:
        """Holds silence back until there is a sample: no channel is an error, and not silence."""
        if not self._is_heard:
            self._n_withheld += len(block)
            return
        while self._n_withheld:
            n_samples = min(self._n_withheld, BLOCK_S * SAMPLE_RATE)
            yield np.zeros(n_samples, np.float32)
            self._n_withheld -= n_samples
        yield block

    def _mono(self, frames: Frames) -> Iterator[tuple[Run, int, Samples]]:
        """Blocks of one channel, each with its run and place."""
        for run, at, values in blocks_of(frames, self._lead_s):
            mono = to_mono(values, self._channel)
            self.n_channels = frames.n_channels
            self._is_heard |= mono.is_heard or self._is_expected()
            n_cancelled = len(mono.samples) if mono.is_cancelled else 0
            damage = Damage(n_bad=mono.n_bad, bad_s=mono.n_bad / run.rate, cancelled_s=n_cancelled / run.rate)
            self._log.add(run.time_s(at), damage)
            yield run, at, mono.samples

    def _is_expected(self) -> bool:
        """Whether silence is to be given as such, as a real sample may have been before it."""
        return self._start_s > 0 and (self._channel is None or self._channel < self.n_channels)

    def _end(self, frames: Frames, container_name: str) -> None:
        """Takes what is known once there are no more frames."""
        self.n_channels = frames.n_channels
        self._n_samples = self._n_samples or frames.n_samples  # the file ends before it is listened to
        self._broke_off = frames.broke_off
        is_cut = frames.ends_damaged
        if self._promise > 1:  # fragments of MP4 that are not there are declared nowhere
            is_cut |= container_name.startswith("mov") or self.declared_s is None
            self.declared_s = max(self.declared_s or 0.0, self.decoded_s * self._promise)
        self._log.end(Damage(is_cut=is_cut))
        if container_name == "ogg" and self._broke_off is None:
            self._log.end(Damage(lost_s=frames.ogg_lost_s(self._file)))

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
        damage = self._log.between(0, None)
        if damage.n_bad:
            message = f"none of {damage.n_bad} samples is a finite number within a million times full scale"
            return AudioError("decode", "not_finite", message)
        if damage.n_damaged:
            message = f"none of {damage.n_damaged} packets could be decoded"
            return AudioError("decode", "corrupt", message)
        return AudioError("decode", "empty", "the file holds no samples")

    def _conclude(self) -> None:
        """Says what is missing, once there is no more to come."""
        if self._broke_off is not None:
            self._log.end(Damage(broke_off=self._broke_off.message))
        damage = self.damage(self._start_s, None)
        self.truncated, self.problem = truncated_and_problem(damage, self.declared_s, self.decoded_s)
