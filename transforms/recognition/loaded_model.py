"""The model of a process, and the threads that call it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from model.interface import Transcriber, TranscriberSettings
from transforms.core.metrics import count_seconds

LoadTranscriber = Callable[[TranscriberSettings], Transcriber]


class LoadedModel:
    """A process's model, and the threads that work with it."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber = transcriber
        self.executor = ThreadPoolExecutor(transcriber.n_lanes, thread_name_prefix="lane")
        self._lock, self._compile_s = threading.Lock(), 0.0

    def count(self, seconds: float) -> None:
        """Counts the time of a call, that of compiling apart."""
        with self._lock:
            before, self._compile_s = self._compile_s, self.transcriber.compile_s
            compiling = self._compile_s - before
        count_seconds("compile", compiling / self.transcriber.n_lanes)
        count_seconds("model", (seconds - compiling) / self.transcriber.n_lanes)
