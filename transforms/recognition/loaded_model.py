"""The model of a process, and the threads that call it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

from model.interface import ModelOptions, Request, Transcriber, WindowResult
from transforms.core.metrics import Metrics, count_seconds
from transforms.core.run_context import RunContext
from transforms.recognition.batching import BatchScheduler
from transforms.recognition.model_calls import call_model

LoadTranscriber = Callable[[ModelOptions], Transcriber]


class LoadedModel:
    """A transcriber with the threads that call it, shared by all callers of a process."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        self._executor = ThreadPoolExecutor(transcriber.max_concurrent_calls, thread_name_prefix="model-call")
        self._lock, self._compile_s = threading.Lock(), 0.0

    def scheduler(self, context: RunContext) -> BatchScheduler[Request, WindowResult | Exception]:
        """Returns the scheduler of one caller: a bundle, or a recording. All callers share the threads.

        Args:
            context: its metrics count each batch; its check is called before and while a batch runs.
        """
        return BatchScheduler(
            self._executor,
            self._transcriber.max_concurrent_calls,
            self._transcriber.batch_size,
            partial(call_model, self._transcriber, context.check),
            context.check,
            partial(self._count, context.metrics),
        )

    def _count(self, metrics: Metrics, n_windows: int, seconds: float) -> None:
        """Counts a batch and the seconds of its call, with those of compiling counted apart."""
        n_calls = self._transcriber.max_concurrent_calls
        with self._lock:
            before, self._compile_s = self._compile_s, self._transcriber.compile_s
            compile_s = self._compile_s - before
        count_seconds(metrics, "compile", compile_s / n_calls)
        count_seconds(metrics, "model", (seconds - compile_s) / n_calls)
        metrics.distribute("batch_windows", n_windows)
        metrics.distribute("batch_model_ms", 1000 * seconds)


def load_model(load: LoadTranscriber, options: ModelOptions, metrics: Metrics) -> LoadedModel:
    """Loads a model and counts the seconds that it took."""
    started = perf_counter()
    model = LoadedModel(load(options))
    count_seconds(metrics, "load", perf_counter() - started)
    return model
