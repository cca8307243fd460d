"""Backend whose model does no work, to measure the cost of everything else; workers can import it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.whole_batches import WholeBatch
from model.interface import SPEECH_CHUNK, ModelOptions, Request, Samples, Segment, WindowResult
from pipelines.backend import Backend

TEXT = " The same nine words of every recording, or window."
CALLED: dict[str, float] = {}
"""Times of the first and the last call of the model, by the clock of this process."""


class NullTranscriber:
    """A `Transcriber` that returns a constant text immediately."""

    max_concurrent_calls = 2
    arithmetic = ""
    compile_s = 0.0

    def __init__(self, options: ModelOptions) -> None:
        self.batch_size = options.batch_size or 8

    def batch_group(self, request: Request) -> None:
        """All requests may share a batch."""

    def token_ids(self, text: str) -> list[int]:
        """One token for each byte."""
        return list(text.encode())

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """There is nothing to compile."""

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> WholeBatch:
        """See `Transcriber`."""
        return WholeBatch(self.transcribe, n_rows or self.batch_size)

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Returns a constant text for each window."""
        CALLED["last"] = perf_counter()
        CALLED.setdefault("first", CALLED["last"])
        return [
            WindowResult((Segment(0, request.samples.size, TEXT),), "en", avg_logprob=-0.3)
            for request in requests
        ]


class AllSpeech:
    """A `SpeechDetector` that classifies everything as speech."""

    def __init__(self) -> None:
        self._rest = 0  # samples of an incomplete chunk

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        n_chunks, self._rest = divmod(self._rest + samples.size, SPEECH_CHUNK)
        return np.ones(n_chunks, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        return np.ones(int(self._rest > 0), np.float32)


def english(model: str) -> tuple[str, ...]:
    """Returns the languages of the model."""
    return ("en",)


NULL_BACKEND = Backend(NullTranscriber, english, AllSpeech)
