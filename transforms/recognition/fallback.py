"""Which windows to decode again, and hotter: the safeguards of the original, for batches.

openai/whisper decodes a window up to six times (`whisper/transcribe.py: decode_with_fallback`), and its batch
is that one window. Here a window that fails goes to a queue of its own kind (`transforms.dofns.transcribe`),
where it fills a batch with others, and what passed is held up by none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from model.interface import WindowResult
from transforms.core.types import Window

LOOP = "loop"
COMPRESSION_RATIO = "compression_ratio"
AVG_LOGPROB = "avg_logprob"
NOT_SURE = "not_sure"  # a remainder that would pass as a first look, but is not sure enough to be added


@dataclass(frozen=True)
class Fallback:
    """When to decode again, and how; the defaults are those of `whisper/transcribe.py`.

    Attributes:
        temperatures: to be tried one after the other; the first is the one that all windows begin with.
        max_compression_ratio: of the text; above it repeats itself.
        min_avg_logprob: of the tokens; below the model is unsure.
        max_no_speech_prob: above, an unsure text is taken for silence, and not decoded again.
        seed: of the sampling.
    """

    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    max_compression_ratio: float = 2.4
    min_avg_logprob: float = -1.0
    max_no_speech_prob: float = 0.6
    seed: int = 0

    def reason(self, result: WindowResult) -> str | None:
        """Why a result is not to be trusted: `LOOP`, `COMPRESSION_RATIO` or `AVG_LOGPROB`; None if it is."""
        if result.looped:
            return LOOP
        if self.is_silent(result):
            return None  # it will have no text
        if result.compression_ratio > self.max_compression_ratio:
            return COMPRESSION_RATIO
        return AVG_LOGPROB if result.avg_logprob < self.min_avg_logprob else None

    def is_silent(self, result: WindowResult) -> bool:
        """Whether nobody speaks: no speech is likely, and the text is not."""
        return result.no_speech_prob > self.max_no_speech_prob and result.avg_logprob < self.min_avg_logprob

    def is_sure(self, result: WindowResult) -> bool:
        """Whether a text passes all thresholds, each by itself."""
        silent = result.no_speech_prob > self.max_no_speech_prob
        unsure = result.avg_logprob < self.min_avg_logprob
        return not (silent or unsure or self.repeats(result))

    def repeats(self, result: WindowResult) -> bool:
        """Whether a text says the same over and over."""
        return result.looped or result.compression_ratio > self.max_compression_ratio

    def best(self, attempts: Sequence[WindowResult]) -> WindowResult:
        """What to keep when every temperature failed: of the texts that do not repeat, the likeliest.

        openai/whisper keeps the last, which was sampled at 1.0 and is often made up.
        """
        varied = [attempt for attempt in attempts if not self.repeats(attempt)]
        return max(varied or attempts, key=lambda attempt: attempt.avg_logprob)

    def seed_of(self, window: Window, temperature: float) -> int:
        """What a window is sampled with at that temperature: its own, in every run and on every runner."""
        told = f"{self.seed} {window.audio_id} {window.pieces[0][0]} {window.samples.size} {temperature:g}"
        digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big")
