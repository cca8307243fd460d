"""The model of a process, and the threads that call it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

from model.interface import ModelOptions, Transcriber
from transforms.core.cancellation import check_stop
from transforms.core.metrics import Metrics, count_seconds
from transforms.core.run_context import RunContext
from transforms.recognition.batching import BatchClient, BatchScheduler

LoadTranscriber = Callable[[ModelOptions], Transcriber]


class LoadedModel:
    """A transcriber with the threads that call it, shared by all callers of a process.

    Args:
        transcriber: the model.
        reserve_s: seconds that one of the concurrent calls is kept free for the next short recording, after
            one (`BatchScheduler`).
    """

    def __init__(self, transcriber: Transcriber, reserve_s: float = 0.0) -> None:
        self.transcriber = transcriber
        n_calls = transcriber.max_concurrent_calls
        self._executor = _started_threads(n_calls)
        self._scheduler = BatchScheduler(self._executor, transcriber, check_stop, reserve_s)
        self._lock, self._compile_s = threading.Lock(), 0.0

    def client(self, context: RunContext, max_windows: int | None = None) -> BatchClient:
        """Returns the client of one caller: a bundle, or a recording. Callers share batches.

        Args:
            context: its metrics count each turn of a lane; its check is called before and during each.
            max_windows: maximum number of the caller's windows in a lane; None for a whole batch.
        """
        return self._scheduler.client(context.check, partial(self._count, context.metrics), max_windows)

    def close(self) -> None:
        """Ends the threads; calls that are running finish."""
        self._executor.shutdown()

    def _count(self, metrics: Metrics, n_windows: int, seconds: float) -> None:
        """Counts a turn and its seconds, with those of compiling counted apart."""
        n_calls = self.transcriber.max_concurrent_calls
        with self._lock:
            before, self._compile_s = self._compile_s, self.transcriber.compile_s
            compile_s = self._compile_s - before
        count_seconds(metrics, "compile", compile_s / n_calls)
        count_seconds(metrics, "model", (seconds - compile_s) / n_calls)
        metrics.distribute("batch_windows", n_windows)
        metrics.distribute("batch_model_ms", 1000 * seconds)


def _started_threads(n_threads: int) -> ThreadPoolExecutor:
    """Returns an executor whose threads run already.

    An executor forgets a thread if an interrupt (control-C) arrives while it starts it, and the process then
    never ends.
    """
    executor = ThreadPoolExecutor(n_threads, thread_name_prefix="model-call")
    together = threading.Barrier(n_threads)
    try:
        list(executor.map(lambda _: together.wait(), range(n_threads)))
    except BaseException:  # such an interrupt: threads that wait for the others would never end
        together.abort()
        executor.shutdown(wait=False)
        raise
    return executor


def load_model(load: LoadTranscriber, options: ModelOptions, metrics: Metrics) -> LoadedModel:
    """Loads a model, and counts the seconds that it took and what it computes with."""
    started = perf_counter()
    model = LoadedModel(load(options))
    count_seconds(metrics, "load", perf_counter() - started)
    if model.transcriber.arithmetic:
        metrics.count(f"arithmetic_{model.transcriber.arithmetic}")
    return model
