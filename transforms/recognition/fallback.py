"""Temperature fallback: which windows are decoded again at a higher temperature, as in openai/whisper.

openai/whisper decodes a window up to six times (`whisper/transcribe.py: decode_with_fallback`), and its batch
is that one window. Here a rejected window is queued with others (`transforms.recognition.batching`), so that
it shares a batch with them and does not delay the windows that passed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from model.interface import WindowResult, option, parse_floats
from transforms.core.types import Window

REPETITION = "loop"
COMPRESSION_RATIO = "compression_ratio"
AVG_LOGPROB = "avg_logprob"
BROKEN_CHARACTER = "broken_character"
NOT_SURE = "not_sure"  # a tail that would be accepted as a first pass, but fails one of the thresholds


@dataclass(frozen=True, kw_only=True)
class FallbackPolicy:
    """The options of temperature fallback; the defaults are those of `whisper/transcribe.py`."""

    temperature: tuple[float, ...] = option(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "temperatures of the fallback, tried in order while a window fails; a single one disables the "
        "fallback",
        metavar="T,T",
        parse=parse_floats,
        minimum=0,
        maximum=2,
    )
    compression_ratio_threshold: float = option(
        2.4,
        "a window whose text has a higher compression ratio repeats itself, and fails",
        metavar="X",
        minimum=0,
    )
    logprob_threshold: float = option(
        -1.0,
        "a window with a lower average log probability fails",
        metavar="X",
        minimum=-1000,
        maximum=0,
    )
    no_speech_threshold: float = option(
        0.6,
        "a window with a higher no-speech probability and a low log probability counts as silence",
        metavar="P",
        minimum=0,
        maximum=1,
    )
    seed: int = option(0, "seed of the sampling at temperatures above 0", metavar="N", minimum=0)

    def reason(self, result: WindowResult) -> str | None:
        """Returns why a result is rejected: `REPETITION`, `COMPRESSION_RATIO`, ..., or None."""
        if result.repeated:
            return REPETITION
        if self.is_silent(result):
            return None  # it will have no text
        if result.compression_ratio > self.compression_ratio_threshold:
            return COMPRESSION_RATIO
        if result.avg_logprob < self.logprob_threshold:
            return AVG_LOGPROB
        return BROKEN_CHARACTER if has_broken_character(result) else None

    def is_silent(self, result: WindowResult) -> bool:
        """Whether a window counts as silence: non-speech is probable, and its text is improbable."""
        return (
            result.no_speech_prob > self.no_speech_threshold and result.avg_logprob < self.logprob_threshold
        )

    def is_sure(self, result: WindowResult) -> bool:
        """Whether a text passes all thresholds, each by itself."""
        silent = result.no_speech_prob > self.no_speech_threshold
        unsure = result.avg_logprob < self.logprob_threshold
        return not (silent or unsure or self.repeats(result) or has_broken_character(result))

    def repeats(self, result: WindowResult) -> bool:
        """Whether a text repeats itself."""
        return result.repeated or result.compression_ratio > self.compression_ratio_threshold

    def best(self, attempts: Sequence[WindowResult]) -> WindowResult:
        """Returns the result to keep when every temperature failed: the likeliest without repetition.

        Of these, one without a broken character is preferred.

        openai/whisper keeps the last, which was sampled at 1.0 and is often hallucinated.
        """
        varied = [attempt for attempt in attempts if not self.repeats(attempt)] or attempts
        whole = [attempt for attempt in varied if not has_broken_character(attempt)] or varied
        return max(whole, key=lambda attempt: attempt.avg_logprob)

    def seed_of(self, window: Window, temperature: float) -> int:
        """Returns the seed of a window at that temperature.

        It depends on the samples alone, so that a recording has the same text under any name.
        """
        hashed = hashlib.sha256(f"{self.seed} {temperature:g} ".encode())
        hashed.update(window.samples.tobytes())
        return int.from_bytes(hashed.digest()[:8], "big")


def has_broken_character(result: WindowResult) -> bool:
    """Whether a text has bytes that are no character: tokens are bytes, and sampled ones may not fit."""
    return any("\N{REPLACEMENT CHARACTER}" in segment.text for segment in result.segments)
