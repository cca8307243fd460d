"""Turns the probability of speech in each chunk of a recording into intervals of speech.

The rule is that of `get_speech_timestamps` in silero-vad's `utils_vad.py`, without its limit on the length of
an interval: windows have a limit of their own. The numbers are not its defaults, because here a lost word
costs more than decoded noise. They were chosen on 41 minutes of read speech and of short commands in real
rooms, as recorded, quiet and noisy, and on 204 minutes of generated noise, tones and music, where they find
no speech.

Intervals are found while a recording is read, and a long one is returned in parts. So the memory needed
depends neither on the length of speech nor on the length of silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK

SPEECH_THRESHOLD = 0.3
"""Probability at which speech starts. Without a gain, silero-vad's 0.5 loses 4 of 200
commands made quieter by 40 dB, and this none; with 0.2, mains hum starts to count as speech."""

SILENCE_THRESHOLD = 0.15
"""Probability below which speech ends. In silero-vad, too, it is 0.15 below the other threshold."""

MIN_SILENCE_SAMPLES = 300 * SAMPLE_RATE // 1000
"""Minimum time below the threshold, 300 ms. With silero-vad's 100 ms, 47 of 157 pauses in read speech have
their middle inside a word, as Whisper times words; with 300 ms, 14 of 68."""

MAX_DOUBT_SAMPLES = SAMPLE_RATE
"""Maximum time between the thresholds, 1 s, before speech has ended all the same: words are louder.
silero-vad has no limit, so that a whole recording may remain in doubt. On 36 minutes of read speech and
commands even 0.5 s changes nothing."""

MIN_SPEECH_SAMPLES = 250 * SAMPLE_RATE // 1000
"""Minimum length of speech: 250 ms, as in silero-vad. With 200 ms the onset of loud hum counts as speech."""

PADDING_SAMPLES = 400 * SAMPLE_RATE // 1000
"""Added on both sides, because words start and end softly: 400 ms, as in faster-whisper. With 200 ms, 2 % of
the words of the clips in seven languages have their middle outside."""

PART_SAMPLES = SAMPLE_RATE
"""Samples, 1 s, of each part of an interval that continues."""


class SpeechPart(NamedTuple):
    """Samples of a recording that contain speech: an interval, or a part of one.

    Attributes:
        start: the first sample; in the first part of an interval, that of its padding.
        stop: one past the last sample.
        pause: samples of silence before it, from speech to speech. 0 when it continues the part before it,
            or when the recording starts with it.
    """

    start: int
    stop: int
    pause: int

    @property
    def n_samples(self) -> int:
        """Number of samples in the part."""
        return self.stop - self.start


def speech_intervals(probabilities: NDArray[np.float32], n_samples: int) -> tuple[tuple[int, int], ...]:
    """Returns the intervals of speech, in samples: `(start, stop)` sorted, `0 <= start < stop <= n_samples`.

    Intervals do not overlap. Two may touch if the pause between them is shorter than their paddings: then the
    bound is the middle of the pause.

    Args:
        probabilities: float32[k], one for each chunk of `SPEECH_CHUNK` samples; the last may be shorter.
        n_samples: length of the recording.

    Raises:
        ValueError: the number of probabilities does not fit the number of samples.
    """
    segmenter = SpeechSegmenter()
    parts = segmenter.feed(probabilities, n_samples) + segmenter.finish()
    return tuple((whole.start, whole.stop) for whole in whole_intervals(parts))


def whole_intervals(parts: Iterable[SpeechPart]) -> list[SpeechPart]:
    """Joins the parts of each interval."""
    whole: list[SpeechPart] = []
    for part in parts:
        if whole and not part.pause:
            whole[-1] = whole[-1]._replace(stop=part.stop)
        else:
            whole.append(part)
    return whole


def padding_of(pause: int) -> int:
    """Returns the samples of padding before speech: paddings meet in the middle of a short pause."""
    return PADDING_SAMPLES if pause >= 2 * PADDING_SAMPLES else pause - pause // 2


class SpeechSegmenter:
    """Accepts probabilities as they come, and returns parts of speech as soon as they are certain.

    A part is certain a few seconds later at most. The parts do not depend on how many probabilities come at a
    time.
    """

    def __init__(self) -> None:
        self._runs = _Runs()
        self._n_samples = 0
        self._speech_end = 0  # where speech ended last, without padding
        self._next_part: SpeechPart | None = None  # the part to be returned next; its stop is not known yet
        self._has_ended = False  # whether the speech of `_next_part` has ended, at `_speech_end`

    @property
    def settled(self) -> int:
        """No part that is still to be returned has a sample before this one."""
        if self._next_part is not None:
            return self._next_part.start
        return max(self._next_start - PADDING_SAMPLES, 0)

    @property
    def speech_end(self) -> int:
        """One past the last sample of speech, without padding; 0 when there was no speech."""
        return self._speech_end

    def feed(self, probabilities: NDArray[np.float32], n_samples: int) -> list[SpeechPart]:
        """Adds chunks, and returns the parts that are certain now.

        Args:
            probabilities: probabilities of speech in the next chunks, float32[k].
            n_samples: samples of the recording so far; fewer than the chunks hold when the last one ends it.

        Raises:
            ValueError: the number of probabilities does not fit the number of samples.
        """
        n_chunks, n_before = -(-n_samples // SPEECH_CHUNK), self._runs.n_chunks
        if probabilities.shape != (n_chunks - n_before,):
            raise ValueError(
                f"{n_samples} samples are {n_chunks} chunks of {SPEECH_CHUNK}, "
                f"but the probabilities are of shape {probabilities.shape}, after {n_before} others"
            )
        self._n_samples = n_samples
        found: list[SpeechPart] = []
        for start, stop in self._runs.feed(probabilities):
            found += self._end_speech(self._sample(start), self._sample(stop))
        if self._runs.start is not None:
            found += self._continue_speech(self._sample(self._runs.start), self._sample(self._runs.sure_stop))
        if self._has_ended and self._next_start - self._speech_end >= 2 * PADDING_SAMPLES:
            found += self._close(self._next_start)
        return found

    def finish(self) -> list[SpeechPart]:
        """Returns the parts that are left at the end of the recording."""
        found: list[SpeechPart] = []
        if self._runs.start is not None:
            found += self._end_speech(self._sample(self._runs.start), self._sample(self._runs.sure_stop))
        return found + self._close(self._n_samples)

    @property
    def _next_start(self) -> int:
        """No speech other than that of `_next_part` is before this sample."""
        return self._sample(self._runs.n_chunks if self._runs.start is None else self._runs.start)

    def _end_speech(self, start: int, stop: int) -> list[SpeechPart]:
        """Adds speech from `start` that ends at `stop`."""
        found = self._continue_speech(start, stop)
        if self._next_part is not None and not self._has_ended:  # else it was too short
            self._speech_end, self._has_ended = stop, True
        return found

    def _continue_speech(self, start: int, stop: int) -> list[SpeechPart]:
        """Adds speech from `start` that lasts until `stop` at least."""
        found: list[SpeechPart] = []
        if self._next_part is None or self._has_ended:
            if stop - start < MIN_SPEECH_SAMPLES:
                return found
            found += self._start_speech(start)
        while self._next_part is not None and self._next_part.start + PART_SAMPLES < stop:
            found.append(self._next_part._replace(stop=self._next_part.start + PART_SAMPLES))
            self._next_part = SpeechPart(found[-1].stop, found[-1].stop, pause=0)
        return found

    def _start_speech(self, start: int) -> list[SpeechPart]:
        """Starts an interval; where paddings would overlap, they meet in the middle of the pause."""
        found = self._close((self._speech_end + start) // 2)
        padded = max(start - PADDING_SAMPLES, found[-1].stop if found else 0)
        self._next_part, self._has_ended = SpeechPart(padded, padded, start - self._speech_end), False
        return found

    def _close(self, latest: int) -> list[SpeechPart]:
        """Returns the part whose speech has ended, with padding behind it up to `latest`."""
        if self._next_part is None:
            return []
        part = self._next_part._replace(stop=min(self._speech_end + PADDING_SAMPLES, latest))
        self._next_part, self._has_ended = None, False
        return [part]

    def _sample(self, chunk: int) -> int:
        return min(chunk * SPEECH_CHUNK, self._n_samples)


class _Runs:
    """Runs of chunks with speech, without the silence that ends them.

    A chunk between the thresholds counts as speech or silence like the chunk before it.

    Attributes:
        n_chunks: chunks added so far.
        start: first chunk of the run that may continue; None in silence.
    """

    def __init__(self) -> None:
        self.n_chunks = 0
        self.start: int | None = None
        self._quiet: int | None = None  # the chunk at which the run may have ended

    @property
    def sure_stop(self) -> int:
        """One past the last chunk of the current run that is speech in any case."""
        return self.n_chunks if self._quiet is None else self._quiet

    def feed(self, probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
        """Adds chunks, and returns the runs that end with them, `(start, stop)`."""
        ended = []
        for index, probability in enumerate(probabilities.tolist(), self.n_chunks):
            if probability >= SPEECH_THRESHOLD:
                self.start = index if self.start is None else self.start
                self._quiet = None
            elif self.start is not None:
                is_silent = probability < SILENCE_THRESHOLD
                if is_silent and self._quiet is None:
                    self._quiet = index
                needed = MIN_SILENCE_SAMPLES if is_silent else MAX_DOUBT_SAMPLES
                if self._quiet is not None and (index + 1 - self._quiet) * SPEECH_CHUNK >= needed:
                    ended.append((self.start, self._quiet))
                    self.start = self._quiet = None
        self.n_chunks += len(probabilities)
        return ended
