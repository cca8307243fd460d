"""A model that does nothing, for what a run costs beside it; where workers can import it."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model.interface import SPEECH_CHUNK, Request, Samples, Segment, TranscriberSettings, WindowResult
from pipelines.backend import Backend

TEXT = " The same nine words of every recording, or window."
CALLED: dict[str, float] = {}
"""When the model was called first and last, on the clock of this process."""


class Deaf:
    """A `Transcriber` that always says the same, at once."""

    n_lanes = 2
    compile_s = 0.0

    def __init__(self, settings: TranscriberSettings) -> None:
        self.batch_size = settings.batch_size

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """See `Transcriber`."""
        CALLED["last"] = perf_counter()
        CALLED.setdefault("first", CALLED["last"])
        return [
            WindowResult((Segment(0, request.samples.size, TEXT),), "en", avg_logprob=-0.3)
            for request in requests
        ]


class AllSpeech:
    """A `SpeechDetector` that takes everything for speech."""

    def __init__(self) -> None:
        self._rest = 0  # samples of a chunk that is not whole

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        n_chunks, self._rest = divmod(self._rest + samples.size, SPEECH_CHUNK)
        return np.ones(n_chunks, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """See `SpeechDetector`."""
        return np.ones(int(self._rest > 0), np.float32)


def english(model: str) -> tuple[str, ...]:
    """The languages of a model of that name."""
    return ("en",)


DEAF = Backend(Deaf, english, AllSpeech)
