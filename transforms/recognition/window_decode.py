"""Decoding state of one window: temperature fallback, then further passes over the untranscribed tail.

The end of a window cuts a sentence, and Whisper tends to stop before an incomplete sentence, or after a long
pause. openai/whisper continues from the last pair of timestamps (`whisper/transcribe.py`, `seek`), and takes
a single one at the end to mean that no speech follows. With windows that are planned ahead, the audio between
the last timestamp and the next window's start would be lost. So if it contains speech, by voice activity
detection or else by loudness, this tail is decoded in a further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Samples, WindowResult
from transforms.core.types import AudioSource, Failure, Intervals, Window
from transforms.recognition.fallback import NOT_SURE, FallbackPolicy
from transforms.windows.splices import behind

MIN_TAIL = SAMPLE_RATE  # samples: less than a second is a breath, or a timestamp that is a bit early
FRAME = SAMPLE_RATE // 50  # samples: 20 ms
MIN_LOUD = 3 * SAMPLE_RATE // 10  # samples: 0.3 s, a short word
MIN_SPEECH = SAMPLE_RATE  # samples: a short word with the 0.4 s that the VAD keeps on each side of it
SPEECH_LEVEL, NOISE_LEVEL = 90, 10  # percentiles of a window's frames
BELOW_SPEECH_DB, ABOVE_NOISE_DB = 20.0, 6.0
MAX_PASSES = 4  # a window has at most two or three sentences that Whisper stops at


@dataclass(frozen=True)
class DecodePass:
    """The accepted decoding of a window, or of its tail.

    Attributes:
        offset: the sample of the window at which it begins.
        result: result of the model.
        fallback: reason to reject the decoding at the first temperature; None if it was accepted.
    """

    offset: int
    result: WindowResult
    fallback: str | None = None


@dataclass(frozen=True)
class WindowDecode:
    """A window and its decodings so far.

    >>> decode = WindowDecode(AudioSource("5f1d", "/talk.wav"), window)
    >>> decode.request(DecodingOptions(), FallbackPolicy()).temperature
    0.0
    >>> decode = decode.with_result(WindowResult((), "en", avg_logprob=-2.0), FallbackPolicy())
    >>> decode.request(DecodingOptions(), FallbackPolicy()).temperature
    0.2

    Attributes:
        source: source of the window, without payload.
        passes: the accepted passes so far, in order.
        attempts: the rejected decodings of the current pass.
        start: the sample at which the next pass begins; None if the window is finished.
        counts: names of the run's counters to be increased by one, in order.
        failures: failures of decodings that raised an exception.
    """

    source: AudioSource
    window: Window
    passes: tuple[DecodePass, ...] = ()
    attempts: tuple[WindowResult, ...] = ()
    start: int | None = 0
    counts: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether no further decoding is needed."""
        return self.start is None

    @property
    def next_window(self) -> Window:
        """The window to decode next: the whole one, or its tail in the language of the first pass."""
        if not self.passes:
            return self.window
        offset = self.start or 0
        return replace(
            self.window,
            stretches=behind(self.window.stretches, offset),
            samples=self.window.samples[offset:],
            n_unshared=self.window.n_unshared - offset,
            language=self.passes[0].result.language,
            speech=_after(self.window.speech, offset),
        )

    def request(self, decoding: DecodingOptions, fallback: FallbackPolicy) -> Request:
        """Returns the request to the model for the next decoding.

        Its language is the window's; a prompt and hot words of the recording replace those of `decoding`.
        """
        window = self.next_window
        temperature = fallback.temperature[len(self.attempts)]
        return Request(
            samples=window.samples,
            language=self.attempts[0].language if self.attempts else window.language,
            temperature=temperature,
            seed=fallback.seed_of(window, temperature) if temperature else 0,
            prompt=decoding.initial_prompt or "" if self.source.prompt is None else self.source.prompt,
            hotwords=decoding.hotwords or "" if self.source.hotwords is None else self.source.hotwords,
            task=decoding.task,
            timestamps=decoding.return_timestamps,
            word_timestamps=decoding.word_timestamps,
        )

    def with_result(self, result: WindowResult, fallback: FallbackPolicy) -> WindowDecode:
        """Adds the decoding of `next_window`, and decides how to continue, if at all."""
        after = self._after_result(result, fallback)
        if len(after.attempts) > len(self.attempts):
            counted = f"failed_{fallback.reason(result) or NOT_SURE}"
        elif len(after.passes) == len(self.passes):
            counted = "remainders_dropped"
        elif not after.is_finished:
            counted = "remainders"
        else:
            return after
        return replace(after, counts=(*self.counts, counted))

    def with_failure(self, failure: Failure, fallback: FallbackPolicy) -> WindowDecode:
        """Adds a decoding that raised: the pass ends with the best of its earlier attempts, if any."""
        return replace(self.finalized(fallback), failures=(*self.failures, failure))

    def finalized(self, fallback: FallbackPolicy) -> WindowDecode:
        """Ends the decoding: the best attempt of a first pass is accepted, those of a tail are dropped."""
        if not self.passes and self.attempts:
            return self._accepted(self.attempts, fallback.best(self.attempts), fallback)
        return replace(self, attempts=(), start=None)

    def _after_result(self, result: WindowResult, fallback: FallbackPolicy) -> WindowDecode:
        attempts = (*self.attempts, result)
        if self.passes:  # the previous pass wrote no text there: this one must pass every threshold
            failed, hopeless = not fallback.is_sure(result), fallback.is_silent(result)
        else:
            failed, hopeless = fallback.reason(result) is not None, False
        if not failed:
            return self._accepted(attempts, result, fallback)
        rejected = replace(self, attempts=attempts)
        if not hopeless and len(attempts) < len(fallback.temperature):
            return rejected
        return rejected.finalized(fallback)

    def _accepted(
        self, attempts: Sequence[WindowResult], kept: WindowResult, fallback: FallbackPolicy
    ) -> WindowDecode:
        # The later attempts were given the language that the first one detected.
        kept = replace(kept, language_probs=attempts[0].language_probs)
        if fallback.is_silent(kept):
            kept = replace(kept, segments=())
        reason = fallback.reason(attempts[0]) if len(attempts) > 1 else None
        offset = self.start or 0
        passes = (*self.passes, DecodePass(offset, kept, reason))
        tail = tail_start(self.next_window, kept) if len(passes) < MAX_PASSES else None
        return replace(self, passes=passes, attempts=(), start=None if tail is None else offset + tail)


def tail_start(window: Window, result: WindowResult) -> int | None:
    """Returns the sample from which a window should be decoded again; None if nothing was left out.

    Audio is left out if it lies after the last segment, is in no later window, and contains speech. A window
    without text or timestamps has no position to continue from.
    """
    if not result.timestamped or not result.segments:
        return None
    stop = result.segments[-1].stop
    if window.n_unshared - stop < MIN_TAIL or not has_speech(window, stop, window.n_unshared):
        return None
    return stop


def has_speech(window: Window, start: int, stop: int) -> bool:
    """Whether there is at least a short word between two samples of a window."""
    if window.speech is None:
        return is_loud(window.samples, start, stop)
    n_speech = sum(max(min(end, stop) - max(begin, start), 0) for begin, end in window.speech)
    return n_speech >= MIN_SPEECH


def is_loud(samples: Samples, start: int, stop: int) -> bool:
    """Whether there may be speech between two samples: enough frames above noise, near speech level."""
    levels = frame_levels_db(samples)
    speech, noise = np.percentile(levels, [SPEECH_LEVEL, NOISE_LEVEL])
    threshold = max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE_DB)
    loud = levels[start // FRAME : stop // FRAME] > threshold
    return int(loud.sum()) * FRAME >= MIN_LOUD


def frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    """Returns the root mean square of each 20 ms in dB of full scale, float32[n // 320]; -100 for silence."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: NDArray[np.float32] = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return levels


def _after(speech: Intervals | None, offset: int) -> Intervals | None:
    if speech is None:
        return None
    return tuple((max(start - offset, 0), stop - offset) for start, stop in speech if stop > offset)
