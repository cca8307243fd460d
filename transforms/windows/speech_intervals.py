"""From the probability of speech in each chunk of a recording to the intervals in which somebody speaks.

The rule is that of `get_speech_timestamps` in silero-vad's `utils_vad.py`, but for its limit on the length of
an interval: windows have one of their own. The numbers are not its defaults, for here a word lost costs more
than a noise decoded. They were chosen on 41 minutes of read speech and of short commands in real rooms, as
recorded, quiet and noisy, and on 204 minutes of generated noise, tones and music, where they find no speech.

Intervals are found while a recording is read, and one in which somebody speaks for an hour is given in parts:
what is held depends neither on how long anybody speaks nor on how long nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK

SPEECH_THRESHOLD = 0.3
"""Probability that speech begins with. Of 200 commands made quieter by 40 dB, silero-vad's 0.5 loses 4, this
none; with 0.2, mains hum begins to be speech."""

SILENCE_THRESHOLD = 0.15
"""Probability below which speech ends. In silero-vad too it is 0.15 lower."""

MIN_SILENCE_SAMPLES = 300 * SAMPLE_RATE // 1000
"""How long it must stay there, 300 ms. With silero-vad's 100 ms, 47 of 157 pauses in read speech have their
middle inside a word, as Whisper times words; with 300 ms, 14 of 68."""

MAX_DOUBT_SAMPLES = SAMPLE_RATE
"""How long it may stay between the thresholds before speech has ended all the same, 1 s: words are louder. In
silero-vad there is no limit, and what is in doubt may be the whole recording. On 36 minutes of read speech
and commands even 0.5 s changes nothing."""

MIN_SPEECH_SAMPLES = 250 * SAMPLE_RATE // 1000
"""Anything shorter is no speech: 250 ms, as in silero-vad. With 200 ms the onset of loud hum is."""

PADDING_SAMPLES = 400 * SAMPLE_RATE // 1000
"""Added on both sides, for words begin and end softly: 400 ms, as in faster-whisper. With 200 ms, 2 % of the
words of the clips in seven languages have their middle outside."""

PART_SAMPLES = SAMPLE_RATE
"""Speech that goes on is given in parts of 1 s."""


class SpeechPart(NamedTuple):
    """Samples of a recording in which somebody speaks: an interval, or a part of one.

    Attributes:
        start: the first; in an interval's first part, that of its padding.
        stop: behind the last.
        pause: samples of silence before it, from speech to speech. 0 when it goes on from the part before it,
            or when the recording begins with it.
    """

    start: int
    stop: int
    pause: int

    @property
    def n_samples(self) -> int:
        """Its length."""
        return self.stop - self.start


def speech_intervals(probabilities: NDArray[np.float32], n_samples: int) -> tuple[tuple[int, int], ...]:
    """Where somebody speaks, in samples: `(start, stop)` in order, `0 <= start < stop <= n_samples`.

    Intervals do not overlap. Two may touch: then there is a pause between them that is shorter than their
    paddings, and the bound is its middle.

    Args:
        probabilities: of speech, float32[k], one for each `SPEECH_CHUNK` samples; the last may be for fewer.
        n_samples: length of the recording.

    Raises:
        ValueError: as many samples have another number of chunks.
    """
    finder = SpeechFinder()
    parts = finder.hear(probabilities, n_samples) + finder.finish()
    return tuple((whole.start, whole.stop) for whole in whole_intervals(parts))


def whole_intervals(parts: Iterable[SpeechPart]) -> list[SpeechPart]:
    """Puts the parts of each interval together."""
    whole: list[SpeechPart] = []
    for part in parts:
        if whole and not part.pause:
            whole[-1] = whole[-1]._replace(stop=part.stop)
        else:
            whole.append(part)
    return whole


class SpeechFinder:
    """Takes probabilities as they come, and gives the intervals as soon as they are sure.

    That is a few seconds later at most. What it gives, and in which parts, does not depend on how many
    probabilities come at a time.
    """

    def __init__(self) -> None:
        self._runs = _Runs()
        self._n_samples = 0
        self._spoken = 0  # where speech ended last, without padding
        self._begun: SpeechPart | None = None  # what is given next; its stop is not known yet
        self._over = False  # whether the speech of `_begun` has ended, at `_spoken`

    @property
    def settled(self) -> int:
        """No part that is still to be given has a sample before this one."""
        if self._begun is not None:
            return self._begun.start
        return max(self._next_start - PADDING_SAMPLES, 0)

    @property
    def spoken_until(self) -> int:
        """Behind the last sample, without padding, in which somebody spoke; 0 when nobody did."""
        return self._spoken

    def hear(self, probabilities: NDArray[np.float32], n_samples: int) -> list[SpeechPart]:
        """Adds chunks, and gives the parts that are sure now.

        Args:
            probabilities: of speech in the next chunks, float32[k].
            n_samples: of the recording so far; fewer than the chunks hold when the last one ends it.

        Raises:
            ValueError: as many samples have another number of chunks.
        """
        n_chunks, n_before = -(-n_samples // SPEECH_CHUNK), self._runs.n_chunks
        if probabilities.shape != (n_chunks - n_before,):
            raise ValueError(
                f"{n_samples} samples are {n_chunks} chunks of {SPEECH_CHUNK}, "
                f"but the probabilities are of shape {probabilities.shape}, after {n_before} others"
            )
        self._n_samples = n_samples
        given: list[SpeechPart] = []
        for start, stop in self._runs.hear(probabilities):
            given += self._spoke(self._sample(start), self._sample(stop))
        if self._runs.start is not None:
            given += self._speaks(self._sample(self._runs.start), self._sample(self._runs.sure_stop))
        if self._over and self._next_start - self._spoken >= 2 * PADDING_SAMPLES:
            given += self._close(self._next_start)
        return given

    def finish(self) -> list[SpeechPart]:
        """What is left when the recording is over."""
        given: list[SpeechPart] = []
        if self._runs.start is not None:
            given += self._spoke(self._sample(self._runs.start), self._sample(self._runs.sure_stop))
        return given + self._close(self._n_samples)

    @property
    def _next_start(self) -> int:
        """Before this, nobody speaks but those that parts were begun for."""
        return self._sample(self._runs.n_chunks if self._runs.start is None else self._runs.start)

    def _spoke(self, start: int, stop: int) -> list[SpeechPart]:
        """Somebody spoke from `start` to `stop`."""
        given = self._speaks(start, stop)
        if self._begun is not None and not self._over:  # else it was too short
            self._spoken, self._over = stop, True
        return given

    def _speaks(self, start: int, stop: int) -> list[SpeechPart]:
        """Somebody speaks from `start` until `stop` at least."""
        given: list[SpeechPart] = []
        if self._begun is None or self._over:
            if stop - start < MIN_SPEECH_SAMPLES:
                return given
            given += self._begin(start)
        while self._begun is not None and self._begun.start + PART_SAMPLES < stop:
            given.append(self._begun._replace(stop=self._begun.start + PART_SAMPLES))
            self._begun = SpeechPart(given[-1].stop, given[-1].stop, pause=0)
        return given

    def _begin(self, start: int) -> list[SpeechPart]:
        """Speech begins; where paddings would overlap, they meet in the middle of the pause."""
        given = self._close((self._spoken + start) // 2)
        padded = max(start - PADDING_SAMPLES, given[-1].stop if given else 0)
        self._begun, self._over = SpeechPart(padded, padded, start - self._spoken), False
        return given

    def _close(self, latest: int) -> list[SpeechPart]:
        """The part whose speech has ended, with the padding behind it as far as `latest`."""
        if self._begun is None:
            return []
        part = self._begun._replace(stop=min(self._spoken + PADDING_SAMPLES, latest))
        self._begun, self._over = None, False
        return [part]

    def _sample(self, chunk: int) -> int:
        return min(chunk * SPEECH_CHUNK, self._n_samples)


class _Runs:
    """Chunks of speech, without the silence that ends them.

    A chunk between the thresholds goes with what was before it, speech or silence.

    Attributes:
        n_chunks: heard so far.
        start: of the run that may go on; None when nobody speaks.
    """

    def __init__(self) -> None:
        self.n_chunks = 0
        self.start: int | None = None
        self._quiet: int | None = None  # the chunk from which on it may have ended

    @property
    def sure_stop(self) -> int:
        """Up to which chunk the run that may go on is speech in any case."""
        return self.n_chunks if self._quiet is None else self._quiet

    def hear(self, probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
        """The runs that end with these chunks, `(start, stop)`."""
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
