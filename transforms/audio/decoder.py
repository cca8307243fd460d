"""Decodes an audio file of any format into blocks of mono samples at 16 kHz, from any multiple of 30 s on.

FFmpeg reads all formats and detects them by content, never by extension. For WAV, AIFF and FLAC its samples
are those of libsndfile, at the same speed, and it continues where libsndfile stops: after a damaged FLAC
frame, and in a WAV whose header has no length because the recorder crashed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.damage_log import DamageLog
from transforms.audio.decoded_file import AudioFile, BlockFacts, Choice, DecodedFile
from transforms.audio.decoding_pass import DecodingPass
from transforms.audio.sound_meter import MakeDetector
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
        n_channels: number of channels; the largest, if it changes within the file.
    """

    def __init__(
        self,
        file: AudioFile,
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
            file: seekable and binary; the caller closes it. A `DecodedFile` is decoded once for decoders that
                follow each other.
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
        self.n_channels = 0
        self._is_private = not isinstance(file, DecodedFile)
        self._file = file if isinstance(file, DecodedFile) else DecodedFile(file, max_bytes=0)
        self._choice = Choice(start_s, stream, channel, takes_mono, sections)
        self._make_detector, self._check = make_detector, check
        self._decoding: DecodingPass | None = None
        self._declared_s: float | None = None
        self._log = DamageLog()
        self._n_samples = 0  # from the file's start
        self._n_withheld = 0  # of these, silent samples not yet emitted: no valid sample so far
        self._has_valid = False
        self._read_error: AudioError | None = None

    @property
    def declared_s(self) -> float | None:
        """Duration in seconds that the header declares; None if it declares none."""
        if self._declared_s is None and self._decoding is not None:
            return self._decoding.declared_s
        return self._declared_s

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The audio streams of a file with several, once the first block was decoded; empty for one."""
        return () if self._decoding is None else self._decoding.streams

    @property
    def decoded_s(self) -> float:
        """Seconds decoded so far, counted from the file's start wherever decoding started."""
        return self._n_samples / SAMPLE_RATE

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
        reading = self._file.reading(self._choice, self._make_detector, self._check)
        self._decoding = reading.decoding
        try:
            for step in reading.steps():
                self._decoding = reading.decoding
                for facts in step.facts:
                    self._note(facts)
                if len(step.samples):
                    self._n_samples = step.stop
                    yield from self._after_silence(step.samples)
            self._decoding = reading.decoding
            self._finish()
        except AudioError as error:
            self._read_error = self._read_error or error
        finally:
            if self._is_private:
                self._file.close()
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

    def _note(self, facts: BlockFacts) -> None:
        self.n_channels = facts.n_channels
        self._has_valid |= facts.has_valid or self._may_start_silent()
        self._log.include(facts.log)

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

    def _may_start_silent(self) -> bool:
        """Whether silence is emitted at once: a valid sample may have come before `start_s`."""
        channel = self._choice.channel
        return self._choice.start_s > 0 and (channel is None or channel < self.n_channels)

    def _finish(self) -> None:
        """Records what is known once there are no more frames."""
        decoding = self._decoding
        if decoding is None or decoding.end is None:
            raise AssertionError("a pass that was read to its end has no end")
        end, declared_s, size_ratio = decoding.end, decoding.declared_s, decoding.size_ratio
        self._log.include(end.log)
        self.n_channels = end.n_channels
        self._n_samples = self._n_samples or end.n_samples  # 0: the file ends before `start_s`
        self._read_error = end.read_error
        is_cut = end.is_cut
        if declared_s is not None:
            declared_s += end.delay_s
            if size_ratio < 1 - TOLERANCE:  # FFmpeg may take what follows the sound for a part of it
                declared_s = min(declared_s, self.decoded_s)
        if size_ratio > 1:  # missing fragments of an MP4 are declared nowhere
            is_cut |= end.container_name.startswith("mov") or declared_s is None
            declared_s = max(declared_s or 0.0, self.decoded_s * size_ratio)
        self._declared_s = declared_s
        self._log.add_at_end(Damage(lost_s=end.lost_s, is_cut=is_cut))

    def _no_samples_error(self) -> AudioError:
        """Returns the reason why not one sample could be decoded."""
        channel = self._choice.channel
        is_missing = channel is not None and 0 < self.n_channels <= channel
        if is_missing and not (self._choice.takes_mono and self.n_channels == 1):
            message = (
                f"there is no channel {channel}, as the file has {self.n_channels}, counted from 0; "
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
