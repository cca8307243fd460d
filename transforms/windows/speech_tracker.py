"""Voice activity detection (VAD) in a recording while it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.core.clips import Clips
from transforms.core.sections import BLOCK_S, Sections
from transforms.core.types import Intervals
from transforms.windows.clipped_detector import ClippedDetector, MakeDetector
from transforms.windows.speech_intervals import (
    MIN_SILENCE_SAMPLES,
    PADDING_SAMPLES,
    SPEECH_THRESHOLD,
    SpeechPart,
    SpeechSegmenter,
    padding_of,
    speech_intervals,
)

_BLOCK = BLOCK_S * SAMPLE_RATE


HANDOVER_SAMPLES = 8 * SAMPLE_RATE
"""Samples, 8 s, of a detector whose result is not used where the one of the section before has it: a new
detector has no level to go by and misses words. A whole number of chunks, and well before the last 30 s of a
section, in which it ends."""

_OVERLAP = SAMPLE_RATE
"""Samples before the handover in which speech of the new detector may still start: a word across it."""


MAX_WORD_CLIP_SAMPLES = 5 * SAMPLE_RATE
"""Samples, 5 s, of a recording in which a word shorter than the least length of speech counts: it was cut out
closely. In longer ones such sounds are mostly clicks and breaths."""

WORD_THRESHOLD = 0.8
"""Probability at which it counts, once. Of 60 words cut out of commands, four are too short to be speech
otherwise, with 0.85 to 1. In 576 clips of silence, noise, hum, tones and music of 0.4 to 4.9 s, those without
longer speech have at most 0.79. For these the model writes "You" or "Thank you", which its own rule for
silence lets pass."""


class SpeechTracker:
    """Speech found in one recording so far, and the probabilities that are still needed.

    Detection starts anew in the warm-up before each section, so that the speech found in a section does not
    depend on where reading started. Its result is used from the handover on; before, that of the detector of
    the section before.

    Args:
        make_detector: returns a detector of a new stream; None to detect nothing.
        sections: sections of the recording.
        first: the section to start with.
        clips: the clips of the recording; no speech is found outside of them.
    """

    def __init__(
        self,
        make_detector: MakeDetector | None,
        sections: Sections | None = None,
        first: int = 0,
        clips: Clips | None = None,
    ) -> None:
        self._make_detector = make_detector
        self._clips = clips or Clips()
        self._last_clipped: int | None = None  # one past the last sample of speech in the clips so far
        self._sections = sections or Sections()
        self._section = first
        self._n_samples = self._sections.warmup_start_s(first) * SAMPLE_RATE
        self._current = self._new_stream()
        self._next: _Stream | None = None  # from the warm-up of the next section to the handover
        self._next_parts: list[SpeechPart] = []
        self._handover: int | None = None  # the last one, if no speech was returned since
        self._speech_end = 0  # of the speech before it
        self._last_stop = self._n_samples  # of the speech that was returned
        self._n_speech_samples: Counter[int] = Counter()  # of speech that starts in a block, by its number
        self._probabilities: NDArray[np.float32] = np.empty(0, np.float32)  # of the chunks not dropped
        self._n_dropped = self._n_samples // SPEECH_CHUNK  # chunks
        self._n_late = 0  # chunks of the current detector that are not needed
        self._word: Intervals = ()  # of a whole recording of one short word

    @property
    def settled(self) -> int:
        """No part of speech that is still to be returned has a sample before this one."""
        if self._current is None:
            return self._n_samples
        if self._may_be_word:
            return 0
        if self._next is not None:
            return min(self._current.settled, self._next.origin + HANDOVER_SAMPLES - _OVERLAP)
        settled = self._current.settled
        return settled if self._handover is None else max(settled, self._handover - _OVERLAP)

    def feed(self, block: Samples) -> list[SpeechPart]:
        """Adds the next block of the recording, and returns the parts of speech that are certain now."""
        found: list[SpeechPart] = []
        while len(block):
            restart = self._sections.warmup_start_s(self._section + 1) * SAMPLE_RATE
            bound = restart if self._n_samples < restart else restart + HANDOVER_SAMPLES
            part, block = block[: bound - self._n_samples], block[bound - self._n_samples :]
            found += self._feed(part)
            if self._n_samples == restart:
                self._next = self._new_stream()
            if self._n_samples == restart + HANDOVER_SAMPLES:
                found += self._hand_over()
        return self._counted(found)

    def finish(self) -> list[SpeechPart]:
        """Returns the parts of speech that are left at the end of the recording."""
        return self._counted(self._finish())

    def _counted(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        """Counts and returns the speech that lies in clips."""
        found = [piece for part in parts for piece in self._clipped(part)]
        for part in found:
            self._n_speech_samples[part.start // _BLOCK] += part.n_samples
        return found

    def _clipped(self, part: SpeechPart) -> Iterator[SpeechPart]:
        """Yields what of a part of speech lies in clips; where it was cut, a pause comes before the rest."""
        if self._clips.is_whole:
            yield part
            return
        pause = part.pause
        for start, stop in self._clips.within(part.start, part.stop):
            last = part.start if self._last_clipped is None else self._last_clipped
            yield SpeechPart(start, stop, pause or start - last)
            self._last_clipped, pause = stop, 0

    def _finish(self) -> list[SpeechPart]:
        if self._current is None:
            return []
        probabilities, parts = self._current.finish()
        self._add(probabilities)
        if not parts:
            self._word = self._short_word()
            parts = [SpeechPart(start, stop, 0) for start, stop in self._word]
        return self._recorded(parts)

    def forget(self, before: int) -> None:
        """Drops the probabilities before a sample: `speech` is not called for it any more."""
        n_chunks = before // SPEECH_CHUNK - self._n_dropped
        if n_chunks > 0 and not self._may_be_word:
            self._probabilities = self._probabilities[n_chunks:].copy()
            self._n_dropped += n_chunks

    def speech(self, start: int, n_samples: int) -> Intervals | None:
        """Returns the intervals of speech in `n_samples` from `start` on, all of them fed and not dropped.

        They depend only on these samples, not on those around them, and are given in samples from `start`.
        None without a detector.
        """
        if self._current is None:
            return None
        first = start // SPEECH_CHUNK
        before = start - first * SPEECH_CHUNK
        n_chunks = -(-(before + n_samples) // SPEECH_CHUNK)
        chunks = self._probabilities[first - self._n_dropped :][:n_chunks]
        found = speech_intervals(chunks, min(len(chunks) * SPEECH_CHUNK, before + n_samples))
        if not found and (start, n_samples) == (0, self._n_samples):
            found = self._word
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
        if self._current is None:
            return None
        last = max(self._n_speech_samples, default=0) + 1 if stop_s is None else stop_s // BLOCK_S
        blocks = range(start_s // BLOCK_S, last)
        return sum(n for block, n in self._n_speech_samples.items() if block in blocks)

    def _feed(self, block: Samples) -> list[SpeechPart]:
        self._n_samples += len(block)
        if self._current is None:
            return []
        probabilities, parts = self._current.feed(block)
        self._add(probabilities)
        if self._next is not None:
            self._next_parts += self._next.feed(block)[1]
        return self._recorded(parts)

    def _add(self, probabilities: NDArray[np.float32]) -> None:
        """Adds those of the current detector, without chunks that the one before it has decided on."""
        n_late = min(self._n_late, len(probabilities))
        self._n_late -= n_late
        self._probabilities = np.concatenate([self._probabilities, probabilities[n_late:]])

    @property
    def _may_be_word(self) -> bool:
        """Whether all speech of the recording, as far as it was read, may be one short word."""
        return self._n_samples <= MAX_WORD_CLIP_SAMPLES and not self._n_speech_samples

    def _short_word(self) -> Intervals:
        """Returns the speech of a whole recording of one short word; empty for any other recording."""
        if not self._may_be_word or self._probabilities.max(initial=0) < WORD_THRESHOLD:
            return ()
        chunks = np.flatnonzero(self._probabilities >= SPEECH_THRESHOLD).tolist()
        start, stop = chunks[0] * SPEECH_CHUNK, (chunks[-1] + 1) * SPEECH_CHUNK
        return ((max(start - PADDING_SAMPLES, 0), min(stop + PADDING_SAMPLES, self._n_samples)),)

    def _new_stream(self) -> _Stream | None:
        if self._make_detector is None:
            return None
        if self._clips.is_whole:
            return _Stream(self._make_detector(), self._n_samples)
        detector = ClippedDetector(self._make_detector, self._clips, self._n_samples)
        return _Stream(detector, self._n_samples)

    def _hand_over(self) -> list[SpeechPart]:
        """Continues with the next detector: with its parts that end after this sample."""
        self._section += 1
        if self._current is None:
            return []
        found = self._finish()
        self._speech_end = self._current.speech_end
        self._current, self._next = self._next, None
        self._handover = self._n_samples
        if self._current is not None:  # it has not decided yet on some chunks before the handover
            self._n_late = HANDOVER_SAMPLES // SPEECH_CHUNK - self._current.n_chunks
        parts, self._next_parts = self._next_parts, []
        return found + self._recorded(parts)

    def _recorded(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        """Lets the first part of speech after a handover follow the speech before it."""
        if self._handover is not None:  # the detector before has found what ends there
            handover = self._handover
            parts = [part for part in parts if part.stop > handover]
        if parts and self._handover is not None:
            parts = [self._following(parts[0], self._handover), *parts[1:]]
            self._handover = None
        if parts:
            self._last_stop = parts[-1].stop
        return parts

    def _following(self, part: SpeechPart, handover: int) -> SpeechPart:
        """Returns a part with the pause since the speech of the detector before; 0 if it is a short one."""
        pause = max(part.start + padding_of(part.pause) - self._speech_end, 0)
        if pause < MIN_SILENCE_SAMPLES:
            return SpeechPart(self._last_stop, max(part.stop, self._last_stop), 0)
        return SpeechPart(max(part.start, handover - _OVERLAP, self._last_stop), part.stop, pause)


class _Stream:
    """A detector and the speech that it finds, in samples of the recording.

    Args:
        detector: a new detector.
        origin: the first sample that it gets.
    """

    def __init__(self, detector: SpeechDetector, origin: int) -> None:
        self.origin = origin
        self._detector = detector
        self._segmenter = SpeechSegmenter()
        self.n_chunks = 0  # that are decided
        self._n_samples = 0

    @property
    def settled(self) -> int:
        """See `SpeechSegmenter.settled`."""
        return self.origin + self._segmenter.settled

    @property
    def speech_end(self) -> int:
        """See `SpeechSegmenter.speech_end`."""
        return self.origin + self._segmenter.speech_end

    def feed(self, block: Samples) -> tuple[NDArray[np.float32], list[SpeechPart]]:
        """Returns the probabilities of the chunks and the parts of speech that are certain now."""
        self._n_samples += len(block)
        probabilities = self._detector(block)
        self.n_chunks += len(probabilities)
        parts = self._segmenter.feed(probabilities, self.n_chunks * SPEECH_CHUNK)
        return probabilities, self._in_recording(parts)

    def finish(self) -> tuple[NDArray[np.float32], list[SpeechPart]]:
        """Returns the probability of the last, incomplete chunk, if any, and the parts that are left."""
        probabilities = self._detector.finish()
        parts = self._segmenter.feed(probabilities, self._n_samples)
        return probabilities, self._in_recording(parts + self._segmenter.finish())

    def _in_recording(self, parts: list[SpeechPart]) -> list[SpeechPart]:
        return [SpeechPart(part.start + self.origin, part.stop + self.origin, part.pause) for part in parts]
