from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, cast

import pytest

from pipelines.inference import Call, CancelledError, Inference
from pipelines.server.engine import FAILED, LOADING, READY, Engine, Job
from pipelines.server.errors import ApiError
from tests.support.raw_http import wait_until
from transforms.core.types import Failure, Transcript
from transforms.recognition.recording import TranscribedRecording

WAIT_S = 10.0
FAILURE = Failure("id", "u", "decode", "truncated", "cut off", False, 1)


def transcribed() -> TranscribedRecording:
    transcript = Transcript("id", "u", 2.0, False, "en", "transcribe", "one two", (), "m")
    return TranscribedRecording(None, transcript, (FAILURE,))


class FakeInference:
    """Yields two segments, the second one only when it may; calls are events that cancel them.

    Attributes:
        error: raised after the first segment; None for none.
        n_closed: how often it was closed.
    """

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.error: BaseException | None = None
        self.n_closed = 0
        self.threads: set[str] = set()

    def run(self, call: threading.Event) -> Generator[dict[str, Any], None, TranscribedRecording]:
        self.threads.add(threading.current_thread().name)
        yield {"text": " one"}
        while not self.may_go_on.wait(0.005):
            if call.is_set():
                raise CancelledError("the transcription was cancelled")
        if self.error:
            raise self.error
        yield {"text": " two"}
        return transcribed()

    def close(self) -> None:
        self.n_closed += 1

    @property
    def real(self) -> Inference:
        return cast(Inference, self)


def call_of(cancelled: threading.Event) -> Call:
    return cast(Call, cancelled)


@pytest.fixture
def inference() -> FakeInference:
    return FakeInference()


@pytest.fixture
def engine(inference: FakeInference) -> Iterator[Engine]:
    engine = Engine(lambda: inference.real, 2)
    engine.start()
    yield engine
    inference.may_go_on.set()
    engine.close()


class Loading:
    """Loads when it may: an inference, or an exception."""

    def __init__(self, outcome: Inference | BaseException) -> None:
        self.outcome, self.may_end = outcome, threading.Event()

    def __call__(self) -> Inference:
        assert self.may_end.wait(WAIT_S)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  # what the work returns
    async def limited() -> Any:  # noqa: ANN401
        async with asyncio.timeout(WAIT_S):
            return await work

    return asyncio.run(limited())


def test_model_is_loaded_in_a_thread(inference: FakeInference) -> None:
    loading = Loading(inference.real)
    engine = Engine(loading, 1)
    assert engine.state == LOADING
    engine.start()
    assert engine.state == LOADING
    assert engine.not_ready().code == "model_loading"
    with pytest.raises(TimeoutError):
        engine.wait(0.01)
    loading.may_end.set()
    assert engine.wait(WAIT_S) is inference.real
    assert engine.state == READY
    assert run(engine.inference()) is inference.real
    engine.close()


@pytest.mark.parametrize(
    ("error", "has_trace"), [(ValueError("no model 'm'"), False), (MemoryError("no memory"), True)]
)
def test_model_that_cannot_be_loaded(
    error: BaseException, has_trace: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loading = Loading(error)
    loading.may_end.set()
    engine = Engine(loading, 1)
    engine.start()
    with pytest.raises(type(error), match=str(error)):
        engine.wait(WAIT_S)
    assert engine.state == FAILED
    with pytest.raises(ApiError) as caught:
        run(engine.inference())
    for refused in (engine.not_ready(), caught.value):
        assert (refused.status, refused.code) == (503, "model_failed")
        assert str(error) not in refused.message  # it may have paths of the server
    engine.close()
    (record,) = caplog.records
    assert (record.levelno, str(error) in record.getMessage()) == (logging.ERROR, True)
    assert bool(record.exc_info) == has_trace


def test_client_that_leaves_does_not_end_the_loading(inference: FakeInference) -> None:
    loading = Loading(inference.real)
    engine = Engine(loading, 1)
    engine.start()

    async def leave_and_stay() -> Inference:
        leaving, staying = (asyncio.create_task(engine.inference()) for _ in range(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert engine.state == LOADING
        loading.may_end.set()
        return await staying

    assert run(leave_and_stay()) is inference.real
    engine.close()


def test_segments_come_as_they_become_final(engine: Engine, inference: FakeInference) -> None:
    async def read() -> tuple[list[str], Any]:
        job = engine.submit(engine.wait(WAIT_S), call_of)
        texts = []
        async for segment in job.segments():
            texts.append(segment["text"])
            assert engine.n_jobs == len(texts) or inference.may_go_on.is_set()
            inference.may_go_on.set()
        await job.ended()
        return texts, await job.result()

    texts, finished = run(read())
    assert texts == [" one", " two"]
    assert finished.row["text"] == "one two"
    assert finished.failures == (FAILURE,)
    assert engine.n_jobs == 0
    (thread,) = inference.threads
    assert thread.startswith("transcription")


def test_segments_are_not_kept_where_they_are_not_wanted(engine: Engine, inference: FakeInference) -> None:
    inference.may_go_on.set()

    async def read() -> list[Any]:
        job = engine.submit(engine.wait(WAIT_S), call_of, with_segments=False)
        assert (await job.result()).row["text"] == "one two"
        return [segment async for segment in job.segments()]

    assert run(read()) == []


def test_errors_are_raised_where_the_result_is_waited_for(engine: Engine, inference: FakeInference) -> None:
    inference.error = KeyError("a bug")
    inference.may_go_on.set()

    async def read() -> list[str]:
        job = engine.submit(engine.wait(WAIT_S), call_of)
        texts = [segment["text"] async for segment in job.segments()]
        for _ in range(2):
            with pytest.raises(KeyError, match="a bug"):
                await job.result()
        await job.ended()
        return texts

    assert run(read()) == [" one"]


def test_errors_that_no_client_asks_for_are_not_reported(
    engine: Engine, inference: FakeInference, caplog: pytest.LogCaptureFixture
) -> None:
    inference.error = KeyError("a bug")
    inference.may_go_on.set()

    async def leave() -> None:
        await engine.submit(engine.wait(WAIT_S), call_of).ended()

    run(leave())
    inference.error = None  # which holds the job, through its trace
    gc.collect()
    assert caplog.records == []


def test_cancelling_ends_a_job(engine: Engine) -> None:
    async def cancel(end: Callable[[Job], None]) -> None:
        job = engine.submit(engine.wait(WAIT_S), call_of)
        await asyncio.sleep(0.02)
        assert not job.cancelled.is_set()
        end(job)
        await job.ended()
        with pytest.raises(CancelledError):
            await job.result()

    run(cancel(Job.cancel))
    run(cancel(lambda _: engine.cancel_all()))
    assert engine.n_jobs == 0


def test_jobs_that_come_after_the_end_are_cancelled(engine: Engine) -> None:
    async def submit() -> None:
        engine.cancel_all()
        job = engine.submit(engine.wait(WAIT_S), call_of)
        with pytest.raises(CancelledError):
            await job.result()

    run(submit())


def test_call_that_cannot_be_made_is_no_job(engine: Engine) -> None:
    def fail(_: threading.Event) -> Call:
        raise ValueError("an option")

    async def submit() -> None:
        with pytest.raises(ValueError, match="an option"):
            engine.submit(engine.wait(WAIT_S), fail)

    run(submit())
    assert engine.n_jobs == 0


def test_at_most_so_many_run(engine: Engine, inference: FakeInference) -> None:
    async def submit() -> None:
        jobs = [engine.submit(engine.wait(WAIT_S), call_of) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert engine.n_jobs == 5
        inference.may_go_on.set()
        for job in jobs:
            await job.result()

    run(submit())
    assert len(inference.threads) == 2


def test_close_ends_all_threads(inference: FakeInference) -> None:
    before = threading.enumerate()
    engine = Engine(lambda: inference.real, 2)
    engine.start()

    async def submit() -> None:
        engine.submit(engine.wait(WAIT_S), call_of)

    run(submit())  # whose loop is closed before the job has ended
    engine.close()
    assert threading.enumerate() == before
    assert inference.n_closed == 1


def test_close_waits_for_a_model_that_is_being_loaded(inference: FakeInference) -> None:
    before = threading.enumerate()
    loading = Loading(inference.real)
    engine = Engine(loading, 2)
    engine.start()
    closing = threading.Thread(target=engine.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    loading.may_end.set()
    closing.join(WAIT_S)
    wait_until(lambda: threading.enumerate() == before)
    assert inference.n_closed == 1


def test_close_of_an_engine_that_was_never_started() -> None:
    Engine(lambda: pytest.fail("nothing is loaded"), 1).close()
