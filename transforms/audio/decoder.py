"""Decodes an audio file of any format into blocks of mono samples at 16 kHz, from any multiple of 30 s on.

FFmpeg reads all formats and detects them by content, never by extension. For WAV, AIFF and FLAC its samples
are those of libsndfile, at the same speed, and it continues where libsndfile stops: after a damaged FLAC
frame, and in a WAV whose header has no length because the recorder crashed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import BinaryIO

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.blocks import RateRun, blocks_of
from transforms.audio.container_lengths import ends_in_zeros
from transforms.audio.damage_log import DamageLog
from transforms.audio.downmix import to_mono
from transforms.audio.ffmpeg import (
    Frames,
    audio_stream,
    declared_s,
    declared_size_ratio,
    needs_bytes,
)
from transforms.audio.pcm_seek import exact_position
from transforms.audio.resampling import resample
from transforms.audio.sound_meter import MakeDetector
from transforms.audio.stream_choice import open_chosen
from transforms.core.audio_streams import StreamChoice, StreamInfo
from transforms.core.cancellation import Check, check_stop
from transforms.core.damage import Damage
from transforms.core.errors import AudioError
from transforms.core.recording_parts import TOLERANCE
from transforms.core.sections import BLOCK_S, Sections

DEFAULT_SECTIONS = Sections()


class AudioDecoder:
    """Decodes one file. Its attributes are final once `blocks` is exhausted.

    Attributes:
        declared_s: duration in seconds that the header declares; None if it declares none.
        n_channels: number of channels; the largest, if it changes within the file.
        streams: the audio streams of a file with several, once the first block was decoded; empty for one.
    """

    def __init__(
        self,
        file: BinaryIO,
        channel: int | None = None,
        *,
        stream: StreamChoice = None,
        make_detector: MakeDetector | None = None,
        takes_mono: bool = False,
        sections: Sections = DEFAULT_SECTIONS,
        start_s: int = 0,
        check: Check = check_stop,
    ) -> None:
        """Sets up decoding; reads nothing yet.

        Args:
            file: seekable and binary; the caller closes it.
            channel: the channel to decode, from 0; None for a mix of all.
            stream: the audio stream to decode; None for the default one (`transforms.audio.stream_choice`).
            make_detector: returns a detector of speech, for that choice; None to search for sound alone.
            takes_mono: where the file has one channel only, that one is decoded, whichever is chosen.
            sections: where the resampler starts anew, so that decoding can start there.
            start_s: where decoding starts. The samples from there on are bit-exact those of a decoder that
                starts at 0 if a section's warm-up starts there, or if the file needs no resampling.
            check: called at each block, of about 30 s; may raise.

        Raises:
            ValueError: `start_s` is negative or not a multiple of `BLOCK_S`.
        """
        if start_s % BLOCK_S or start_s < 0:
            raise ValueError(f"reading from {start_s} s: it must be a multiple of {BLOCK_S} s")
        self.declared_s: float | None = None
        self.n_channels = 0
        self.streams: tuple[StreamInfo, ...] = ()
        self._file = file
        self._chosen = partial(open_chosen, file, stream, check, make_detector)
        self._channel, self._takes_mono = channel, takes_mono
        self._sections = sections
        self._start_s, self._check = start_s, check
        self._log = DamageLog()
        self._size_ratio = 1.0  # size declared by the header / real size
        self._n_samples = 0  # from the file's start
        self._n_withheld = 0  # of these, silent samples not yet emitted: no valid sample so far
        self._has_valid = False
        self._read_error: AudioError | None = None

    @property
    def decoded_s(self) -> float:
        """Seconds decoded so far, counted from the file's start wherever decoding started."""
        return self._n_samples / SAMPLE_RATE

    @property
    def _lead_start_s(self) -> int:
        """Start of the first block decoded: the resampler needs the end of the block before `start_s`."""
        return max(self._start_s - BLOCK_S, 0)

    def blocks(self) -> Iterator[Samples]:
        """Decodes from `start_s` to the end of the file, or to where reading fails.

        Yields:
            float32[n], n > 0, one channel, 16 kHz, finite; about 30 s each; none if the file ends before
            `start_s`. Samples above full scale are unchanged; invalid samples (NaN, infinite, beyond a
            million) become silence. Where channels cancel each other, the loudest is used instead of the
            mix. Samples lie at their presentation times: silence where the stream begins late, or has a gap.

        Raises:
            AudioError: not one sample could be decoded, or the channel or the stream does not exist.
            Exception: raised by `check`.
        """
        try:
            position = exact_position(self._file, self._lead_start_s)
            with self._chosen() as (container, number, self.streams):
                stream = audio_stream(container, number)
                self.declared_s = declared_s(container, stream, self._file)
                self._size_ratio = declared_size_ratio(self._file)
                frames = Frames(container, stream, self._log, position)
                yield from self._resampled(frames)
                is_cut = needs_bytes(container, stream, self._file) > self._file.seek(0, os.SEEK_END)
                self._finish(frames, container.format.name, is_cut)
        except AudioError as error:
            self._read_error = self._read_error or error
        if not self._n_samples or self._n_withheld:
            raise self._no_samples_error()
        if self._read_error is not None:
            self._log.add_at_end(Damage(read_error=self._read_error.message))

    def damage(self, start_s: int, stop_s: int | None) -> Damage:
        """Returns the damage of a range, once its samples have been emitted.

        Args:
            start_s: start of the range, a multiple of `BLOCK_S`; not before the decoder's own start.
            stop_s: end of the range, a multiple of `BLOCK_S`; None for the rest of the file, with what is
                detected only at its end.
        """
        return self._log.between(start_s, stop_s)

    def _resampled(self, frames: Frames) -> Iterator[Samples]:
        """Yields the samples from `start_s` on; later runs are resampled in full to keep positions."""
        start = self._start_s * SAMPLE_RATE
        for run, blocks in itertools.groupby(self._mono(frames), key=itemgetter(0)):
            is_first = run.number == 0
            at = start if is_first else run.n_before
            placed = ((position, samples) for _, position, samples in blocks)
            for block in resample(placed, run.rate, self._section_starts_s() if is_first else (0,)):
                wanted = block[max(start - at, 0) :]
                at += len(block)
                if len(wanted):
                    self._n_samples = at
                    yield from self._after_silence(wanted)

    def _section_starts_s(self) -> Iterator[int]:
        """Yields the starts of the resampler's sections, without end."""
        yield self._start_s
        for number in itertools.count(max(self._sections.at(self._start_s), 1)):
            if self._sections.warmup_start_s(number) > self._start_s:
                yield self._sections.warmup_start_s(number)

    def _after_silence(self, block: Samples) -> Iterator[Samples]:
        """Withholds silence until there is a valid sample: a missing channel is an error, not silence."""
        if not self._has_valid:
            self._n_withheld += len(block)
            return
        while self._n_withheld:
            n_samples = min(self._n_withheld, BLOCK_S * SAMPLE_RATE)
            yield np.zeros(n_samples, np.float32)
            self._n_withheld -= n_samples
        yield block

    def _mono(self, frames: Frames) -> Iterator[tuple[RateRun, int, Samples]]:
        """Yields blocks of one channel, each with its run and position."""
        for run, position, values, weights in blocks_of(frames, self._lead_start_s):
            self._check()
            is_mono = self._takes_mono and len(values) == 1
            mono = to_mono(values, 0 if is_mono else self._channel, weights)
            self.n_channels = frames.n_channels
            self._has_valid |= mono.has_valid or self._may_start_silent()
            n_cancelled = len(mono.samples) if mono.is_cancelled else 0
            damage = Damage(
                n_invalid=mono.n_invalid,
                invalid_s=mono.n_invalid / run.rate,
                cancelled_s=n_cancelled / run.rate,
                other_channel_s=len(mono.samples) / run.rate if is_mono and self._channel else 0.0,
            )
            self._log.add(run.time_s(position), damage)
            yield run, position, mono.samples

    def _may_start_silent(self) -> bool:
        """Whether silence is emitted at once: a valid sample may have come before `start_s`."""
        return self._start_s > 0 and (self._channel is None or self._channel < self.n_channels)

    def _finish(self, frames: Frames, container_name: str, is_cut: bool) -> None:
        """Records what is known once there are no more frames; `is_cut` if indexed samples are missing."""
        self.n_channels = frames.n_channels
        self._n_samples = self._n_samples or frames.n_samples  # 0: the file ends before `start_s`
        error = frames.read_error
        is_padded = (
            error is not None and error.kind == "corrupt" and ends_in_zeros(self._file, frames.n_bytes_read)
        )
        self._read_error = None if is_padded else error  # FFmpeg looks for more in the zeros
        if self.declared_s is not None:
            self.declared_s += frames.delay_s
            if self._size_ratio < 1 - TOLERANCE:  # FFmpeg may take what follows the sound for a part of it
                self.declared_s = min(self.declared_s, self.decoded_s)
        is_cut |= frames.ends_damaged
        if self._size_ratio > 1:  # missing fragments of an MP4 are declared nowhere
            is_cut |= container_name.startswith("mov") or self.declared_s is None
            self.declared_s = max(self.declared_s or 0.0, self.decoded_s * self._size_ratio)
        self._log.add_at_end(Damage(is_cut=is_cut))
        if container_name == "ogg" and self._read_error is None:
            self._log.add_at_end(Damage(lost_s=frames.ogg_missing_s(self._file)))

    def _no_samples_error(self) -> AudioError:
        """Returns the reason why not one sample could be decoded."""
        is_missing = self._channel is not None and 0 < self.n_channels <= self._channel
        if is_missing and not (self._takes_mono and self.n_channels == 1):
            message = (
                f"there is no channel {self._channel}, as the file has {self.n_channels}, counted from 0; "
                "choose another one (--channels, or a manifest's column channel), or mix"
            )
            return AudioError("decode", "no_such_channel", message)
        if self._read_error is not None:
            return self._read_error
        damage = self._log.between(0, None)
        if damage.n_invalid:
            message = (
                f"none of {damage.n_invalid} samples is a finite number within a million times full scale"
            )
            return AudioError("decode", "not_finite", message)
        if damage.n_damaged:
            message = f"none of {damage.n_damaged} packets could be decoded"
            return AudioError("decode", "corrupt", message)
        return AudioError("decode", "empty", "the file holds no samples")
