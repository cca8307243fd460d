"""Voice activity detection (VAD) in a recording while it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.core.sections import BLOCK_S, Sections
from transforms.core.types import Intervals
from transforms.windows.speech_intervals import (
    MIN_SILENCE_SAMPLES,
    PADDING_SAMPLES,
    SpeechPart,
    SpeechSegmenter,
    speech_intervals,
)

MakeDetector = Callable[[], SpeechDetector]

_BLOCK = BLOCK_S * SAMPLE_RATE


class SpeechTracker:
    """Speech found in one recording so far, and the probabilities that are still needed.

    Detection restarts in the warm-up before each section, so that the speech found in a section does not
    depend on where reading started.

    Args:
        make_detector: returns a detector of a new stream; None to detect nothing.
        sections: sections of the recording.
        first: the section to start with.
    """

    def __init__(
        self, make_detector: MakeDetector | None, sections: Sections | None = None, first: int = 0
    ) -> None:
        self._make_detector = make_detector
        self._sections = sections or Sections()
        self._section = first
        self._n_samples = self._origin = self._sections.warmup_start_s(first) * SAMPLE_RATE
        self._detector = make_detector() if make_detector else None
        self._segmenter = SpeechSegmenter()
        self._pause_before = 0  # samples from the last speech to where detection restarted
        self._is_restarted = False  # and no speech was returned since
        self._last_stop = self._origin  # of the speech that was returned
        self._n_speech_samples: Counter[int] = Counter()  # of speech that starts in a block, by its number
        self._probabilities: NDArray[np.float32] = np.empty(0, np.float32)  # of the chunks not dropped
        self._n_dropped = self._origin // SPEECH_CHUNK  # chunks

    @property
    def settled(self) -> int:
        """No part of speech that is still to be returned has a sample before this one."""
        if self._detector is None:
            return self._n_samples
        if self._is_restarted and not self._segmenter.settled:
            return self._padded(self._origin - PADDING_SAMPLES)
        return self._origin + self._segmenter.settled

    def feed(self, block: Samples) -> list[SpeechPart]:
        """Adds the next block of the recording, and returns the parts of speech that are certain now."""
        found: list[SpeechPart] = []
        while len(block):
            restart = self._sections.warmup_start_s(self._section + 1) * SAMPLE_RATE
            part, block = block[: restart - self._n_samples], block[restart - self._n_samples :]
            found += self._feed(part)
            if self._n_samples == restart:
                found += self.finish()
                self._restart()
        return found

    def finish(self) -> list[SpeechPart]:
        """Returns the speech that is left, as no further block follows."""
        if self._detector is None:
            return []
        n_samples = self._n_samples - self._origin
        parts = self._segmenter.feed(self._stored(self._detector.finish()), n_samples)
        return self._recorded(parts + self._segmenter.finish())

    def forget(self, before: int) -> None:
        """Drops the probabilities before a sample: `speech` is not called for it any more."""
        n_chunks = before // SPEECH_CHUNK - self._n_dropped
        if n_chunks > 0:
            self._probabilities = self._probabilities[n_chunks:].copy()
            self._n_dropped += n_chunks

    def speech(self, start: int, n_samples: int) -> Intervals | None:
        """Returns the intervals of speech in `n_samples` from `start` on, all of them fed and not dropped.

        They depend only on these samples, not on those around them, and are given in samples from `start`.
        None without a detector.
        """
        if self._detector is None:
            return None
        first = start // SPEECH_CHUNK
        before = start - first * SPEECH_CHUNK
        n_chunks = -(-(before + n_samples) // SPEECH_CHUNK)
        chunks = self._probabilities[first - self._n_dropped :][:n_chunks]
        found = speech_intervals(chunks, min(len(chunks) * SPEECH_CHUNK, before + n_samples))
        shifted = ((max(begin - before, 0), end - before) for begin, end in found)
        return tuple((begin, end) for begin, end in shifted if begin < end)

    def n_speech_samples(self, start_s: int, stop_s: int | None) -> int | None:
        """Returns the samples of speech that starts in a range of the recording, as far as it is certain.

        A long interval counts part by part (`transforms.windows.speech_intervals`).

        Args:
            start_s: a multiple of `BLOCK_S`.
            stop_s: a multiple of `BLOCK_S`; None for the recording's end.

        Returns:
            None without a detector.
        """
        if self._detector is None:
            return None
        last = max(self._n_speech_samples, default=0) + 1 if stop_s is None else stop_s // BLOCK_S
        blocks = range(start_s // BLOCK_S, last)
        return sum(n for block, n in self._n_speech_samples.items() if block in blocks)

    def _feed(self, block: Samples) -> list[SpeechPart]:
        self._n_samples += len(block)
        if self._detector is None:
            return []
        probabilities = self._stored(self._detector(block))
        n_chunks = self._n_dropped + len(self._probabilities)
        return self._recorded(self._segmenter.feed(probabilities, n_chunks * SPEECH_CHUNK - self._origin))

    def _stored(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        return probabilities

    def _restart(self) -> None:
        self._section += 1
        self._pause_before = self._n_samples - self._origin - self._segmenter.speech_end
        self._origin = self._n_samples
        self._is_restarted = True
        self._segmenter = SpeechSegmenter()
        self._detector = self._make_detector() if self._make_detector else None

    def _recorded(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        """Converts parts to samples of the recording, and counts them.

        After a restart, the first part continues the speech before it if the pause between them is short;
        else it has padding before it.
        """
        found = [
            SpeechPart(part.start + self._origin, part.stop + self._origin, part.pause) for part in parts
        ]
        if found and self._is_restarted:
            start = min(found[0].start, self._padded(self._origin + found[0].pause - PADDING_SAMPLES))
            pause = self._pause_before + found[0].pause
            found[0] = SpeechPart(start, found[0].stop, pause if pause >= MIN_SILENCE_SAMPLES else 0)
            self._is_restarted = False
        for part in found:
            self._n_speech_samples[part.start // _BLOCK] += part.n_samples
            self._last_stop = part.stop
        return found

    def _padded(self, start: int) -> int:
        """Returns the first sample of a part that would start at `start`, limited by the speech before it."""
        return max(start, self._last_stop)
