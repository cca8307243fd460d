"""Voice activity detection in the clips of a recording alone: the detector does not run far from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples, SpeechDetector
from transforms.core.clips import END, Clips

MakeDetector = Callable[[], SpeechDetector]

LEAD_SAMPLES = 8 * SAMPLE_RATE
"""Samples, 8 s, before a clip that the detector is given: a new one has no level to go by and misses words.
A whole number of chunks."""


class ClippedDetector:
    """A `SpeechDetector` that finds no speech outside of clips.

    A new detector starts in the lead before each clip, or goes on from the clip before if that is as near.
    What follows a clip is not looked at, so that its speech does not depend on whether another clip comes.

    Args:
        make_detector: returns a detector of a new stream.
        clips: the clips of the recording.
        origin: sample of the recording that comes first; a whole number of chunks.
    """

    def __init__(self, make_detector: MakeDetector, clips: Clips, origin: int = 0) -> None:
        self._make_detector = make_detector
        self._runs = _runs_of(clips)
        self._starts, self._stops = np.array(clips.intervals).T
        self._n_read = origin
        self._n_chunks = origin // SPEECH_CHUNK  # that are decided
        self._detector: SpeechDetector | None = None

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        found = [np.empty(0, np.float32)]
        while len(samples):
            while self._runs and self._runs[0][1] <= self._n_read:
                self._runs.pop(0)
            start, stop = self._runs[0] if self._runs else (END, END)
            bound = start if self._n_read < start else stop
            part, samples = samples[: bound - self._n_read], samples[bound - self._n_read :]
            is_inside = self._n_read >= start
            self._n_read += len(part)
            if is_inside:
                self._detector = self._detector or self._make_detector()
                found.append(self._decided(self._detector(part)))
                if self._n_read == stop:
                    found.append(self._finished())
            else:
                n_chunks = self._n_read // SPEECH_CHUNK - self._n_chunks
                found.append(self._decided(np.zeros(n_chunks, np.float32)))
        return np.concatenate(found)

    def finish(self) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        if self._detector is not None:
            return self._finished()
        return self._decided(np.zeros(-(-self._n_read // SPEECH_CHUNK) - self._n_chunks, np.float32))

    def _finished(self) -> NDArray[np.float32]:
        """Returns the last probabilities of the current detector, and drops it."""
        if self._detector is None:
            raise AssertionError("there is no detector to finish")
        found = self._decided(self._detector.finish())
        self._detector = None
        return found

    def _decided(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the probabilities of the next chunks; 0 for those that no clip has a sample of."""
        chunks = np.arange(self._n_chunks, self._n_chunks + len(probabilities)) * SPEECH_CHUNK
        self._n_chunks += len(probabilities)
        following = np.searchsorted(self._stops, chunks, "right")  # the first clip that ends behind it
        starts = np.append(self._starts, END)[following]
        return np.where(starts < chunks + SPEECH_CHUNK, probabilities, np.float32(0))


def _runs_of(clips: Clips) -> list[tuple[int, int]]:
    """Returns the samples that a detector is given without interruption, in whole chunks."""
    runs: list[tuple[int, int]] = []
    for clip_start, clip_stop in clips.intervals:
        start = max(clip_start - LEAD_SAMPLES, 0) // SPEECH_CHUNK * SPEECH_CHUNK
        stop = -(-clip_stop // SPEECH_CHUNK) * SPEECH_CHUNK
        if runs and start <= runs[-1][1]:
            start = runs.pop()[0]
        runs.append((start, stop))
    return runs
