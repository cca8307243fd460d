"""Listens along while a recording is read, and knows where somebody speaks in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.core.sections import BLOCK_S, Chapters
from transforms.core.types import Intervals
from transforms.windows.speech_intervals import (
    MIN_SILENCE_SAMPLES,
    PADDING_SAMPLES,
    SpeechFinder,
    SpeechPart,
    speech_intervals,
)

MakeDetector = Callable[[], SpeechDetector]

_BLOCK = BLOCK_S * SAMPLE_RATE


class Listener:
    """What was heard of one recording so far, and is not forgotten.

    It begins anew before each chapter, so that what it hears there is the same wherever it began.

    Args:
        make: makes the detector; None for a listener that knows nothing.
        chapters: of the recording.
        first: the chapter to begin with.
    """

    def __init__(self, make: MakeDetector | None, chapters: Chapters | None = None, first: int = 0) -> None:
        self._make = make
        self._chapters = chapters or Chapters()
        self._chapter = first
        self._n_samples = self._origin = self._chapters.heard_from_s(first) * SAMPLE_RATE
        self._detector = make() if make else None
        self._finder = SpeechFinder()
        self._pause_before = 0  # samples from where somebody spoke last to where hearing began anew
        self._is_anew = False  # nothing was given since
        self._last_stop = self._origin  # of the speech that was given
        self._spoken: Counter[int] = Counter()  # samples of speech that begins in a block, by its number
        self._probabilities: NDArray[np.float32] = np.empty(0, np.float32)  # of the chunks not forgotten
        self._n_forgotten = self._origin // SPEECH_CHUNK  # chunks

    @property
    def settled(self) -> int:
        """No part of speech that is still to be given has a sample before this one."""
        if self._detector is None:
            return self._n_samples
        if self._is_anew and not self._finder.settled:
            return self._padded(self._origin - PADDING_SAMPLES)
        return self._origin + self._finder.settled

    def hear(self, block: Samples) -> list[SpeechPart]:
        """Listens to the next block of the recording, and gives the speech that is sure now."""
        given: list[SpeechPart] = []
        while len(block):
            anew = self._chapters.heard_from_s(self._chapter + 1) * SAMPLE_RATE
            part, block = block[: anew - self._n_samples], block[anew - self._n_samples :]
            given += self._hear(part)
            if self._n_samples == anew:
                given += self.finish()
                self._begin_anew()
        return given

    def finish(self) -> list[SpeechPart]:
        """Gives the speech that is left, as nothing follows."""
        if self._detector is None:
            return []
        n_samples = self._n_samples - self._origin
        parts = self._finder.hear(self._remembered(self._detector.finish()), n_samples)
        return self._told(parts + self._finder.finish())

    def forget(self, before: int) -> None:
        """Forgets what was heard before a sample: `speech` is not asked for it any more."""
        n_chunks = before // SPEECH_CHUNK - self._n_forgotten
        if n_chunks > 0:
            self._probabilities = self._probabilities[n_chunks:].copy()
            self._n_forgotten += n_chunks

    def speech(self, start: int, n_samples: int) -> Intervals | None:
        """Where somebody speaks in `n_samples` from `start` on, all of them heard and not forgotten.

        By these alone, whatever is around them. In samples from `start`; None when nobody listens.
        """
        if self._detector is None:
            return None
        first = start // SPEECH_CHUNK
        before = start - first * SPEECH_CHUNK
        n_chunks = -(-(before + n_samples) // SPEECH_CHUNK)
        chunks = self._probabilities[first - self._n_forgotten :][:n_chunks]
        found = speech_intervals(chunks, min(len(chunks) * SPEECH_CHUNK, before + n_samples))
        moved = ((max(begin - before, 0), end - before) for begin, end in found)
        return tuple((begin, end) for begin, end in moved if begin < end)

    def spoken(self, start_s: int, stop_s: int | None) -> int | None:
        """Samples of speech that begins in a range of the recording, so far as it is sure.

        A long interval counts by its parts (`transforms.windows.speech_intervals`).

        Args:
            start_s: a multiple of `BLOCK_S`.
            stop_s: likewise; None for the recording's end.

        Returns:
            None when nobody listens.
        """
        if self._detector is None:
            return None
        last = max(self._spoken, default=0) + 1 if stop_s is None else stop_s // BLOCK_S
        blocks = range(start_s // BLOCK_S, last)
        return sum(n for block, n in self._spoken.items() if block in blocks)

    def _hear(self, block: Samples) -> list[SpeechPart]:
        self._n_samples += len(block)
        if self._detector is None:
            return []
        probabilities = self._remembered(self._detector(block))
        n_chunks = self._n_forgotten + len(self._probabilities)
        return self._told(self._finder.hear(probabilities, n_chunks * SPEECH_CHUNK - self._origin))

    def _remembered(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        return probabilities

    def _begin_anew(self) -> None:
        self._chapter += 1
        self._pause_before = self._n_samples - self._origin - self._finder.spoken_until
        self._origin = self._n_samples
        self._is_anew = True
        self._finder = SpeechFinder()
        self._detector = self._make() if self._make else None

    def _told(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        """In samples of the recording.

        Who was speaking where hearing began anew goes on to speak, and who begins there has a padding before.
        """
        told = [SpeechPart(part.start + self._origin, part.stop + self._origin, part.pause) for part in parts]
        if told and self._is_anew:
            start = min(told[0].start, self._padded(self._origin + told[0].pause - PADDING_SAMPLES))
            pause = self._pause_before + told[0].pause
            told[0] = SpeechPart(start, told[0].stop, pause if pause >= MIN_SILENCE_SAMPLES else 0)
            self._is_anew = False
        for part in told:
            self._spoken[part.start // _BLOCK] += part.n_samples
            self._last_stop = part.stop
        return told

    def _padded(self, start: int) -> int:
        """Where a part may start that would start there, but for the speech before it."""
        return max(start, self._last_stop)
