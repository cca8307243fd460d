"""The transcriptions of a server: each reads and merges in a thread, and all share the model.

The model is loaded in a thread of its own, while the server answers already. The event loop waits for none of
them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.server.errors import ApiError, unavailable
from transforms.core.types import Failure

if TYPE_CHECKING:  # the server answers before these are imported
    from pipelines.inference import Call, Inference

Row = dict[str, Any]

LOADING, READY, FAILED = "loading", "ready", "failed"
LOADING_RETRY_S = 5.0
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """The result of a transcription.

    Attributes:
        row: the row of the recording (`transforms.writing.rows.transcript_row`).
        failures: failures that left it a row.
    """

    row: Row
    failures: tuple[Failure, ...]


class Engine:
    """Loads a model and runs transcriptions.

    Args:
        load: loads the model; runs in a thread.
        max_jobs: maximum number of transcriptions at a time.
    """

    def __init__(self, load: Callable[[], Inference], max_jobs: int) -> None:
        self._load = load
        self._loaded: Future[Inference] = Future()
        self._loaded.set_running_or_notify_cancel()  # else a client that leaves would cancel it
        self._loader: threading.Thread | None = None
        self._threads = ThreadPoolExecutor(max_jobs, thread_name_prefix="transcription")
        self._jobs: set[Job] = set()
        self._is_cancelled = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begins to load the model."""
        self._loader = threading.Thread(target=self._load_model, name="load-model", daemon=True)
        self._loader.start()

    @property
    def state(self) -> str:
        """`LOADING`, `READY` or `FAILED`."""
        if not self._loaded.done():
            return LOADING
        return READY if self._loaded.exception() is None else FAILED

    def wait(self, timeout_s: float | None = None) -> Inference:
        """Waits for the model.

        Raises:
            TimeoutError: it is not loaded yet.
            Exception: it cannot be loaded.
        """
        return self._loaded.result(timeout_s)

    async def inference(self) -> Inference:
        """Waits for the model; see `wait`.

        Raises:
            ApiError: 503 if it cannot be loaded.
        """
        try:
            return await asyncio.wrap_future(self._loaded)
        except Exception as error:
            raise self.not_ready() from error

    def not_ready(self) -> ApiError:
        """Returns the 503 of a server whose model is not loaded."""
        if self.state == LOADING:
            return unavailable("The model is being loaded.", "model_loading", LOADING_RETRY_S)
        message = "The model could not be loaded; the log of the server says why."
        return unavailable(message, "model_failed", LOADING_RETRY_S)

    @property
    def n_jobs(self) -> int:
        """The number of transcriptions that are running."""
        with self._lock:
            return len(self._jobs)

    def submit(
        self,
        inference: Inference,
        make_call: Callable[[threading.Event], Call],
        *,
        with_segments: bool = True,
    ) -> Job:
        """Begins a transcription, from the event loop.

        Args:
            inference: the model.
            make_call: returns the call to run, given the event that cancels it.
            with_segments: whether the job has its segments too, and not only its result.
        """
        job = Job(asyncio.get_running_loop(), with_segments=with_segments)
        call = make_call(job.cancelled)
        with self._lock:
            self._jobs.add(job)
            if self._is_cancelled:
                job.cancel()
        self._threads.submit(self._run, inference, call, job)
        return job

    def cancel_all(self) -> None:
        """Cancels all transcriptions, those that are submitted later too."""
        with self._lock:
            self._is_cancelled = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()

    def close(self) -> None:
        """Cancels all transcriptions, and ends all threads; a model that is being loaded is waited for."""
        self.cancel_all()
        self._threads.shutdown()
        if self._loader is not None:
            self._loader.join()
        if self.state == READY:
            self.wait().close()

    def _load_model(self) -> None:
        try:
            inference = self._load()
        except BaseException as error:  # raised where the model is waited for
            is_expected = isinstance(error, ValueError | OSError)
            _LOGGER.error("the model cannot be loaded: %s", error, exc_info=None if is_expected else error)
            self._loaded.set_exception(error)
        else:
            self._loaded.set_result(inference)

    def _run(self, inference: Inference, call: Call, job: Job) -> None:
        outcome: Finished | BaseException
        try:
            outcome = _transcribe(inference, call, job)
        except BaseException as error:  # raised where the result is waited for
            outcome = error
        with self._lock:
            self._jobs.discard(job)
        job.end(outcome)


class Job:
    """A transcription that is running. All but `cancel`, `put` and `end` is the loop's.

    Attributes:
        cancelled: once set, the transcription ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, with_segments: bool) -> None:
        self.cancelled = threading.Event()
        self._loop, self._with_segments = loop, with_segments
        self._segments: asyncio.Queue[Row | None] = asyncio.Queue()
        self._result: asyncio.Future[Finished] = loop.create_future()
        self._ended = asyncio.Event()

    async def segments(self) -> AsyncGenerator[Row, None]:
        """Yields the rows of the segments as they become final."""
        while (segment := await self._segments.get()) is not None:
            yield segment

    async def result(self) -> Finished:
        """Waits for the result.

        Raises:
            Exception: raised by `Inference.run`.
        """
        return await asyncio.shield(self._result)

    async def ended(self) -> None:
        """Waits until the thread has ended, and its file may be closed."""
        await self._ended.wait()

    def cancel(self) -> None:
        """Ends the transcription soon; its windows that wait are never decoded."""
        self.cancelled.set()

    def put(self, segment: Row) -> None:
        """Adds a segment, from the thread."""
        if self._with_segments:
            self._call(self._segments.put_nowait, segment)

    def end(self, outcome: Finished | BaseException) -> None:
        """Sets the result or the exception, as the last thing that the thread does."""
        self._call(self._end, outcome)

    def _end(self, outcome: Finished | BaseException) -> None:
        self._segments.put_nowait(None)
        self._ended.set()
        if isinstance(outcome, Finished):
            self._result.set_result(outcome)
        else:
            self._result.set_exception(outcome)
            self._result.exception()  # a client that is gone does not ask for it

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: the server has stopped, and no request waits
            _LOGGER.debug("a transcription ended after its server")


def _transcribe(inference: Inference, call: Call, job: Job) -> Finished:
    from transforms.writing.rows import transcript_row

    segments = inference.run(call)
    while True:
        try:
            job.put(next(segments))
        except StopIteration as stop:
            return Finished(transcript_row(stop.value.transcript), stop.value.failures)
