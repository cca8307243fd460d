"""What is heard of a window, look by look: hotter when it fails, and again from where the model stopped.

A window cuts sentences, and Whisper tends to stop before one that it hears but the beginning of, or after a
long pause. openai/whisper reads on from the last pair of timestamps (`whisper/transcribe.py`, `seek`), and
takes a single one at the end to mean that nobody speaks after it; with windows that are planned ahead,
whatever lies between the last timestamp and the next window's start would be lost. So where somebody speaks
there, by the voice-activity gate or else by loudness, the remainder is decoded once more, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, Request, Samples, WindowResult
from transforms.core.types import AudioSource, Intervals, Window
from transforms.recognition.fallback import Fallback
from transforms.windows.splices import behind

LEAST_REST = SAMPLE_RATE  # samples: less than a second is a breath, or a timestamp that is a bit early
FRAME = SAMPLE_RATE // 50  # samples: 20 ms
LEAST_LOUD = 3 * SAMPLE_RATE // 10  # samples: 0.3 s, a short word
LEAST_SPEECH = SAMPLE_RATE  # samples: a short word with the 0.4 s that the gate keeps on each side of it
SPEECH_LEVEL, NOISE_LEVEL = 90, 10  # percentiles of a window's frames
BELOW_SPEECH_DB, ABOVE_NOISE_DB = 20.0, 6.0
MAX_LOOKS = 4  # a window has at most two or three sentences that Whisper stops at


@dataclass(frozen=True)
class Look:
    """What one decoding of a window, or of its remainder, gave.

    Attributes:
        offset: the sample of the window that it began at.
        result: what was kept.
        fallback: why the first decoding was not kept; None when it was.
    """

    offset: int
    result: WindowResult
    fallback: str | None = None


@dataclass(frozen=True)
class Hearing:
    """A window and what was said of it so far.

    Attributes:
        source: of the window; without payload.
        span: the name of the reading that the window is of (`transforms.checkpoint.spans.Step`).
        looks: in order.
        attempts: of the look that is under way, those that failed.
        start: the sample that the next look begins at; None when there is to be none.
    """

    source: AudioSource
    window: Window
    span: str = ""
    looks: tuple[Look, ...] = ()
    attempts: tuple[WindowResult, ...] = ()
    start: int | None = 0

    @property
    def next_window(self) -> Window:
        """What to transcribe now: the window, or its remainder in the language of its beginning."""
        if not self.looks:
            return self.window
        offset = self.start or 0
        return replace(
            self.window,
            pieces=behind(self.window.pieces, offset),
            samples=self.window.samples[offset:],
            n_own=self.window.n_own - offset,
            language=self.looks[0].result.language,
            speech=_after(self.window.speech, offset),
        )

    def request(self, fallback: Fallback) -> Request:
        """What to ask of the model now."""
        window = self.next_window
        temperature = fallback.temperatures[len(self.attempts)]
        return Request(
            samples=window.samples,
            language=self.attempts[0].language if self.attempts else window.language,
            temperature=temperature,
            seed=fallback.seed_of(window, temperature) if temperature else 0,
            prompt=self.source.prompt,
            hotwords=self.source.hotwords,
        )

    def heard(self, result: WindowResult, fallback: Fallback) -> Hearing:
        """Adds what was just said of `next_window`, and finds how to go on, if at all."""
        attempts = (*self.attempts, result)
        if self.looks:  # the look before heard nothing there: what this one hears must be sure
            failed, hopeless = not fallback.is_sure(result), fallback.is_silent(result)
        else:
            failed, hopeless = fallback.reason(result) is not None, False
        if failed and not hopeless and len(attempts) < len(fallback.temperatures):
            return replace(self, attempts=attempts)
        if failed:
            return replace(self, attempts=attempts).given_up(fallback)
        return self._looked(attempts, result, fallback)

    def given_up(self, fallback: Fallback) -> Hearing:
        """The same with no further look: the best of the attempts at the first one, none at a remainder."""
        if self.looks or not self.attempts:
            return replace(self, attempts=(), start=None)
        return self._looked(self.attempts, fallback.best(self.attempts), fallback)

    def _looked(self, attempts: Sequence[WindowResult], kept: WindowResult, fallback: Fallback) -> Hearing:
        # The later attempts were told the language that the first one found.
        kept = replace(kept, language_probs=attempts[0].language_probs)
        if fallback.is_silent(kept):
            kept = replace(kept, segments=())
        reason = fallback.reason(attempts[0]) if len(attempts) > 1 else None
        offset = self.start or 0
        looks = (*self.looks, Look(offset, kept, reason))
        rest = remainder(self.next_window, kept) if len(looks) < MAX_LOOKS else None
        return replace(self, looks=looks, attempts=(), start=None if rest is None else offset + rest)


def remainder(window: Window, result: WindowResult) -> int | None:
    """The sample from which on a window should be decoded again; None when nothing is left out.

    Left out is what lies after the last segment, is heard by no later window, and has somebody speaking. A
    window without text or times has no place to go on from.
    """
    if not result.timestamped or not result.segments:
        return None
    stop = result.segments[-1].stop
    if window.n_own - stop < LEAST_REST or not somebody_speaks(window, stop, window.n_own):
        return None
    return stop


def somebody_speaks(window: Window, start: int, stop: int) -> bool:
    """Whether there is at least a short word between two samples of a window."""
    if window.speech is None:
        return is_loud(window.samples, start, stop)
    heard = sum(max(min(end, stop) - max(begin, start), 0) for begin, end in window.speech)
    return heard >= LEAST_SPEECH


def is_loud(samples: Samples, start: int, stop: int) -> bool:
    """Whether somebody may speak between two samples: loud against the noise, and not against the rest."""
    levels = frame_levels_db(samples)
    speech, noise = np.percentile(levels, [SPEECH_LEVEL, NOISE_LEVEL])
    threshold = max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE_DB)
    loud = levels[start // FRAME : stop // FRAME] > threshold
    return int(loud.sum()) * FRAME >= LEAST_LOUD


def frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    """Root mean square of each 20 ms, in dB of full scale, float32[n // 320]; digital silence is -100."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: NDArray[np.float32] = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return levels


def _after(speech: Intervals | None, offset: int) -> Intervals | None:
    if speech is None:
        return None
    return tuple((max(start - offset, 0), stop - offset) for start, stop in speech if stop > offset)
