"""One pass of FFmpeg over an audio stream of a file, whose last blocks are kept for further readers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from typing import BinaryIO, NamedTuple

from av.audio.stream import AudioStream
from av.container import InputContainer

from transforms.audio.blocks import Block, blocks_of
from transforms.audio.container_lengths import ends_in_zeros
from transforms.audio.damage_log import DamageLog
from transforms.audio.ffmpeg import Frames, audio_stream, declared_s, declared_size_ratio, needs_bytes
from transforms.audio.pcm_seek import exact_position, is_seekable
from transforms.audio.sound_meter import MakeDetector
from transforms.audio.stream_choice import open_chosen
from transforms.core.audio_streams import StreamChoice, StreamInfo
from transforms.core.cancellation import Check
from transforms.core.errors import AudioError


class BlocksDroppedError(Exception):
    """A reader asks for blocks that are not kept any more: another one has read on, or started later."""


class ReadBlock(NamedTuple):
    """A block, and what was known of the stream when it was decoded.

    Attributes:
        block: its samples.
        n_channels: channels of the stream so far.
        log: damage that FFmpeg found since the block before.
    """

    block: Block
    n_channels: int
    log: DamageLog


class PassEnd(NamedTuple):
    """What is known once a stream was decoded to its end; nothing of it needs the container any more.

    Attributes:
        container_name: FFmpeg's name of the format.
        n_channels: channels of the stream, at most.
        n_samples: its samples, as samples at 16 kHz.
        delay_s: seconds of silence before its first frame.
        is_cut: the end of the file is incomplete, as an index or the last packet shows.
        lost_s: seconds that are missing at the end of an Ogg file.
        read_error: why decoding ended early; None if the stream ended.
        log: damage that FFmpeg found since the last block.
    """

    container_name: str
    n_channels: int
    n_samples: int
    delay_s: float
    is_cut: bool
    lost_s: float
    read_error: AudioError | None
    log: DamageLog


class DecodingPass:
    """Decodes a stream forward, once. Readers follow each other, or take turns.

    Args:
        file: seekable and binary; nothing else may read it before the pass has ended or is closed.
        stream: the audio stream to decode; None for the default one.
        start_s: a multiple of `BLOCK_S`: where the first reader starts.
        make_detector: see `open_chosen`.
        check: called while streams are searched; may raise.
        max_bytes: bytes of blocks that are kept, at most, for a reader that starts before the last one.

    Attributes:
        streams: the audio streams of a file with several, once the first block was decoded; empty for one.
        declared_s: duration in seconds that the header declares; None if it declares none.
        size_ratio: size that the header declares, divided by the real size.
        end: None until the stream was decoded to its end.
    """

    def __init__(
        self,
        file: BinaryIO,
        stream: StreamChoice,
        start_s: int,
        make_detector: MakeDetector | None,
        check: Check,
        max_bytes: int = 0,
    ) -> None:
        self.streams: tuple[StreamInfo, ...] = ()
        self.declared_s: float | None = None
        self.size_ratio = 1.0
        self.end: PassEnd | None = None
        self._file, self._stream, self._make_detector, self._check = file, stream, make_detector, check
        self._wanted_from_s = start_s
        self._kept_from_s: float = start_s
        self._max_bytes = max_bytes
        self._kept: deque[ReadBlock] = deque()
        self._n_dropped = self._n_bytes = 0
        self._dropped_log = DamageLog()
        self._is_seekable = self._is_closed = False
        self._decoded = self._decode()

    @property
    def is_broken(self) -> bool:
        """Whether another pass may decode more: this one is closed, or reading the file has failed."""
        error = None if self.end is None else self.end.read_error
        return self._is_closed or (error is not None and error.retryable)

    def covers(self, start_s: int) -> bool:
        """Whether a reader that starts there gets what it would of a pass of its own, and as fast."""
        if self.is_broken or start_s < self._kept_from_s:
            return False
        return not self._is_seekable or start_s <= self._kept_to_s

    def blocks(self, start_s: int) -> Iterator[ReadBlock]:
        """Yields the blocks of the first run from a time on, and all of later runs; drops those before.

        The log of a block has all that FFmpeg found before it and was not yielded yet; at the end, what is
        left is in `end`.

        Args:
            start_s: a multiple of `BLOCK_S` that the pass covers.

        Raises:
            AudioError: the file cannot be opened.
            BlocksDroppedError: another reader has read too far ahead, or started later.
            Exception: raised by `check`.
        """
        self._wanted_from_s = self._kept_from_s = start_s
        while self._kept and _is_before(self._kept[0].block, start_s):
            self._drop_first()
        log = DamageLog()
        log.include(self._dropped_log)
        number = self._n_dropped
        while (found := self._block(number, start_s)) is not None:
            number += 1
            log.include(found.log)
            if not _is_before(found.block, start_s):
                yield found._replace(log=log)
                log = DamageLog()

    def close(self) -> None:
        """Closes the container; the file stays open."""
        self._is_closed = True
        self._decoded.close()
        self._kept.clear()

    @property
    def _kept_to_s(self) -> float:
        """End of the last block in seconds; 0 if none is kept."""
        last = self._kept[-1].block if self._kept else None
        return 0.0 if last is None else last.run.time_s(last.position + last.values.shape[1])

    def _block(self, number: int, start_s: int) -> ReadBlock | None:
        """Returns a block by its number in the pass, for a reader that started there; None after the last."""
        at = number - self._n_dropped
        if at < 0 or start_s < self._wanted_from_s or self._is_closed:
            raise BlocksDroppedError(f"block {number} is not kept any more")
        if at == len(self._kept):
            try:
                found = next(self._decoded, None)
            except BaseException:  # raised again: no more can be decoded
                self._is_closed = True
                raise
            if found is not None:
                self._keep(found)
            return found
        return self._kept[at]

    def _keep(self, found: ReadBlock) -> None:
        self._kept.append(found)
        self._n_bytes += found.block.values.nbytes
        while self._n_bytes > self._max_bytes:
            self._drop_first()

    def _drop_first(self) -> None:
        block, _, log = self._kept.popleft()
        self._n_dropped += 1
        self._n_bytes -= block.values.nbytes
        self._dropped_log.include(log)
        stop_s = block.run.time_s(block.position + block.values.shape[1])
        # Readers need later runs from their start on, wherever they start themselves.
        self._kept_from_s = max(self._kept_from_s, stop_s if block.run.number == 0 else float("inf"))

    def _decode(self) -> Generator[ReadBlock]:
        position = exact_position(self._file, self._wanted_from_s)
        chosen = open_chosen(self._file, self._stream, self._check, self._make_detector)
        with chosen as (container, number, self.streams):
            stream = audio_stream(container, number)
            self._is_seekable = is_seekable(container, stream)
            self.declared_s = declared_s(container, stream, self._file)
            self.size_ratio = declared_size_ratio(self._file)
            log = DamageLog()
            frames = Frames(container, stream, log, position)
            for block in blocks_of(frames, lambda: self._wanted_from_s):
                yield ReadBlock(block, frames.n_channels, log.pop())
            self.end = self._end_of(frames, container, stream, log)

    def _end_of(
        self, frames: Frames, container: InputContainer, stream: AudioStream, log: DamageLog
    ) -> PassEnd:
        file, error, lost_s = self._file, frames.read_error, 0.0
        is_cut = needs_bytes(container, stream, file) > file.seek(0, os.SEEK_END) or frames.ends_damaged
        if error is not None and error.kind == "corrupt" and ends_in_zeros(file, frames.n_bytes_read):
            error = None  # FFmpeg looks for more in the zeros
        if container.format.name == "ogg" and error is None:
            try:
                lost_s = frames.ogg_missing_s(file)
            except AudioError as found:
                error = found
        return PassEnd(
            container.format.name, frames.n_channels, frames.n_samples, frames.delay_s, is_cut, lost_s,
            error, log.pop(),
        )  # fmt: skip


def _is_before(block: Block, start_s: int) -> bool:
    return block.run.number == 0 and block.position < start_s * block.run.rate
