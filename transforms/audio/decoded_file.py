"""An open file and what was decoded of it last, so that parts that follow each other are decoded once.

A manifest may name hundreds of short parts of a recording of hours, and FFmpeg has to decode each from the
start of the file, as seeking in compressed files is not exact. So a pass goes on from one part to the next
(`DecodingPass`), and parts that start in the same 30 s of the file share what was resampled for the first of
them. Each part has the samples, to the bit, and the damage that it has if it is decoded by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import BinaryIO, NamedTuple

import numpy as np

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.blocks import RateRun
from transforms.audio.damage_log import DamageLog
from transforms.audio.decoding_pass import BlocksDroppedError, DecodingPass
from transforms.audio.downmix import to_mono
from transforms.audio.resampling import resample
from transforms.audio.sound_meter import MakeDetector
from transforms.core.audio_streams import StreamChoice
from transforms.core.cancellation import Check
from transforms.core.damage import Damage
from transforms.core.sections import BLOCK_S, Sections

MAX_KEPT_BYTES = 64 << 20
"""Decoded blocks that are kept for the next part: of one channel at 44.1 kHz, in MP3, 6 minutes."""

N_KEPT_STEPS = 4
"""Steps that are kept for parts that start in the same 30 s: 2 minutes at 16 kHz, 8 MB for each channel."""


class Choice(NamedTuple):
    """What is decoded of a file; see `AudioDecoder`."""

    start_s: int
    stream: StreamChoice
    channel: int | None
    takes_mono: bool
    sections: Sections

    @property
    def lead_start_s(self) -> int:
        """Start of the first block decoded: the resampler needs the end of the block before `start_s`."""
        return max(self.start_s - BLOCK_S, 0)

    def section_starts_s(self) -> Iterator[int]:
        """Yields the starts of the resampler's sections, without end."""
        yield self.start_s
        for number in itertools.count(max(self.sections.at(self.start_s), 1)):
            if self.sections.warmup_start_s(number) > self.start_s:
                yield self.sections.warmup_start_s(number)


class BlockFacts(NamedTuple):
    """What a block of one channel adds to what is known of the file.

    Attributes:
        n_channels: channels of the file so far.
        has_valid: whether it has a valid sample of the channel.
        log: damage up to this block that no block before has.
    """

    n_channels: int
    has_valid: bool
    log: DamageLog


class Step(NamedTuple):
    """A block of samples at 16 kHz, and the blocks that were decoded for it.

    Attributes:
        facts: of these blocks.
        samples: float32[n], read-only; n is 0 if the file ends here.
        stop: samples at 16 kHz from the file's start to their end.
    """

    facts: tuple[BlockFacts, ...]
    samples: Samples
    stop: int


class DecodedFile:
    """A file that is decoded for several readers, one after the other or in turns.

    Args:
        file: seekable and binary; nothing else may read it. The caller closes it.
        max_bytes: bytes of decoded blocks that are kept; 0 for one reader.
    """

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self.file = file
        self._max_bytes = max_bytes
        self._pass: DecodingPass | None = None
        self._stream: StreamChoice = None
        self._readings: dict[Choice, Reading] = {}

    def reading(self, choice: Choice, make_detector: MakeDetector | None, check: Check) -> Reading:
        """Returns the reading of a choice: that of an earlier reader, as far as it is kept.

        Readers should come in the order of their starts; for one that goes back, the file is decoded anew.

        Args:
            choice: what to decode.
            make_detector: see `transforms.audio.stream_choice.open_chosen`.
            check: called at each block; may raise.
        """
        if any(one.start_s != choice.start_s for one in self._readings):
            self._readings.clear()
        known = self._readings.get(choice)
        if known is not None and not known.has_failed and not known.decoding.is_broken:
            return known
        decoding = self._pass
        if decoding is None or self._stream != choice.stream or not decoding.covers(choice.lead_start_s):
            self.close()
            start_s = choice.lead_start_s
            decoding = DecodingPass(self.file, choice.stream, start_s, make_detector, check, self._max_bytes)
            self._pass, self._stream = decoding, choice.stream
        again = partial(self.reading, choice, make_detector, check)
        reading = Reading(
            decoding, _steps(decoding, choice, check), again, N_KEPT_STEPS if self._max_bytes else 0
        )
        self._readings[choice] = reading
        return reading

    def close(self) -> None:
        """Drops what was decoded; the file stays open."""
        self._readings.clear()
        if self._pass is not None:
            self._pass.close()
            self._pass = None


AudioFile = BinaryIO | DecodedFile
"""A file to decode: for one reader, or for several."""


class Reading:
    """The steps of a choice, of which the first are kept for further readers.

    Args:
        decoding: the pass that decodes them.
        source: the steps.
        again: returns another reading of them, after this one has failed.
        n_kept: number of steps to keep.

    Attributes:
        decoding: the pass of the steps that were read last.
        has_failed: an exception ended the steps, or the pass went on for another reader.
    """

    def __init__(
        self, decoding: DecodingPass, source: Iterator[Step], again: Callable[[], Reading], n_kept: int
    ) -> None:
        self.decoding = decoding
        self.has_failed = False
        self._source, self._again, self._n_kept = source, again, n_kept
        self._kept: list[Step] = []
        self._n_taken = 0

    def steps(self) -> Iterator[Step]:
        """Yields all steps.

        Raises:
            AudioError: the file cannot be opened.
            Exception: raised by `check`.
        """
        for number in itertools.count():
            if number < len(self._kept):
                yield self._kept[number]
                continue
            try:
                step = self._take(number)
            except BlocksDroppedError:
                break
            if step is None:
                return
            yield step
        another = self._again()
        self.decoding = another.decoding
        yield from itertools.islice(another.steps(), number, None)

    def _take(self, number: int) -> Step | None:
        """Returns the next step of the source, which must have that number; None after the last one."""
        if self.has_failed or number != self._n_taken:
            self.has_failed = True
            raise BlocksDroppedError(f"step {number} is not kept any more")
        try:
            step = next(self._source, None)
        except BaseException:  # raised again: the source has ended without all its steps
            self.has_failed = True
            raise
        if step is not None:
            self._n_taken += 1
            if len(self._kept) < self._n_kept:
                self._kept.append(step)
        return step


def _steps(decoding: DecodingPass, choice: Choice, check: Check) -> Iterator[Step]:
    """Yields the samples from a choice's start on; later runs are resampled in full to keep positions."""
    start = choice.start_s * SAMPLE_RATE
    facts: list[BlockFacts] = []
    for run, blocks in itertools.groupby(_mono(decoding, choice, check, facts), key=itemgetter(0)):
        is_first = run.number == 0
        at = start if is_first else run.n_before
        placed = ((position, samples) for _, position, samples in blocks)
        for block in resample(placed, run.rate, choice.section_starts_s() if is_first else (0,)):
            wanted = block[max(start - at, 0) :]
            at += len(block)
            if len(wanted):
                wanted.flags.writeable = False  # several readers get it
                yield Step(tuple(facts), wanted, at)
                facts.clear()
    if facts:
        yield Step(tuple(facts), np.empty(0, np.float32), 0)


def _mono(
    decoding: DecodingPass, choice: Choice, check: Check, facts: list[BlockFacts]
) -> Iterator[tuple[RateRun, int, Samples]]:
    """Yields blocks of one channel, each with its run and position, and appends their facts."""
    for (run, position, values, weights), n_channels, log in decoding.blocks(choice.lead_start_s):
        check()
        is_mono = choice.takes_mono and len(values) == 1
        mono = to_mono(values, 0 if is_mono else choice.channel, weights)
        n_cancelled = len(mono.samples) if mono.is_cancelled else 0
        damage = Damage(
            n_invalid=mono.n_invalid,
            invalid_s=mono.n_invalid / run.rate,
            cancelled_s=n_cancelled / run.rate,
            other_channel_s=len(mono.samples) / run.rate if is_mono and choice.channel else 0.0,
        )
        log.add(run.time_s(position), damage)
        facts.append(BlockFacts(n_channels, mono.has_valid, log))
        yield run, position, mono.samples
