"""What Whisper left out at the end of a window, to be decoded again from there.

A window cuts sentences, and Whisper tends to stop before one that it hears but the beginning of, or after a
long pause. openai/whisper reads on from the last pair of timestamps (`whisper/transcribe.py`, `seek`), and
takes a single one at the end to mean that nobody speaks after it; with windows on a fixed grid, whatever lies
between the last timestamp and the next window's start would be lost. So here loudness tells whether somebody
speaks there, and the remainder is decoded once more, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, Samples, WindowResult
from transforms.types import AudioSource, Window

LEAST_REST = SAMPLE_RATE  # samples: less than a second is a breath, or a timestamp that is a bit early
FRAME = SAMPLE_RATE // 50  # samples: 20 ms
LEAST_LOUD_FRAMES = 15  # 0.3 s, a short word
SPEECH_LEVEL, NOISE_LEVEL = 90, 10  # percentiles of a window's frames
BELOW_SPEECH_DB, ABOVE_NOISE_DB = 20.0, 6.0
MAX_LOOKS = 4  # a window has at most two or three sentences that Whisper stops at
# The numbers of `whisper/transcribe.py`, each by itself enough to leave a remainder's text out: the first
# look heard nothing there, so it has to be sure.
MAX_COMPRESSION_RATIO, MIN_AVG_LOGPROB, MAX_NO_SPEECH_PROB = 2.4, -1.0, 0.6


@dataclass(frozen=True)
class Hearing:
    """A window and what was said of it so far.

    Attributes:
        source: of the window; without payload.
        looks: (sample of the window that a look began at, what it gave), in order.
        start: the sample that the next look begins at; None when there is to be none.
    """

    source: AudioSource
    window: Window
    looks: tuple[tuple[int, WindowResult], ...] = ()
    start: int | None = 0

    @property
    def next_window(self) -> Window:
        """What to transcribe now: the window, or its remainder in the language of its beginning."""
        if not self.looks:
            return self.window
        offset = self.start or 0
        return replace(
            self.window,
            start=self.window.start + offset,
            samples=self.window.samples[offset:],
            n_own=self.window.n_own - offset,
            language=self.looks[0][1].language,
        )

    def heard(self, result: WindowResult) -> Hearing:
        """Adds what was just said of `next_window`, and finds where to go on, if anywhere."""
        if self.looks and not is_sound(result):
            return self.given_up()
        if is_silent(result):
            result = replace(result, segments=())
        offset = self.start or 0
        looks = (*self.looks, (offset, result))
        rest = remainder(self.next_window, result) if len(looks) < MAX_LOOKS else None
        return replace(self, looks=looks, start=None if rest is None else offset + rest)

    def given_up(self) -> Hearing:
        """The same with no further look."""
        return replace(self, start=None)


def remainder(window: Window, result: WindowResult) -> int | None:
    """The sample from which on a window should be decoded again; None when nothing is left out.

    Left out is what lies after the last segment, is heard by no later window, and has somebody speaking, as
    far as loudness tells. A window without text or times has no place to go on from.
    """
    if not result.timestamped or not result.segments:
        return None
    stop = result.segments[-1].stop
    if window.n_own - stop < LEAST_REST or not is_loud(window.samples, stop, window.n_own):
        return None
    return stop


def is_loud(samples: Samples, start: int, stop: int) -> bool:
    """Whether somebody may speak between two samples: loud against the noise, and not against the rest."""
    levels = frame_levels_db(samples)
    speech, noise = np.percentile(levels, [SPEECH_LEVEL, NOISE_LEVEL])
    threshold = max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE_DB)
    loud = levels[start // FRAME : stop // FRAME] > threshold
    return int(loud.sum()) >= LEAST_LOUD_FRAMES


def frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    """Root mean square of each 20 ms, in dB of full scale, float32[n // 320]; digital silence is -100."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: NDArray[np.float32] = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return levels


def is_silent(result: WindowResult) -> bool:
    """Whether nobody speaks, by the rule of `whisper/transcribe.py`: no speech is likely, the text is not."""
    return result.no_speech_prob > MAX_NO_SPEECH_PROB and result.avg_logprob < MIN_AVG_LOGPROB


def is_sound(result: WindowResult) -> bool:
    """Whether the text of a remainder is sure enough to be added."""
    silent = result.no_speech_prob > MAX_NO_SPEECH_PROB
    unsure = result.avg_logprob < MIN_AVG_LOGPROB
    return not (silent or unsure or result.compression_ratio > MAX_COMPRESSION_RATIO)


def first_looks(batch: Sequence[tuple[AudioSource, Window]]) -> list[Hearing]:
    """Windows that nothing was said of yet."""
    return [Hearing(source, window) for source, window in batch]
