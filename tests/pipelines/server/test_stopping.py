from __future__ import annotations

import asyncio

import pytest

from pipelines.server.errors import ApiError
from pipelines.server.stopping import Stop, stopping


async def waits(stop: Stop) -> None:
    with stop.ends_wait():
        await asyncio.Event().wait()


def test_error_asks_the_client_to_come_again() -> None:
    error = stopping()
    assert (error.status, error.code) == (503, "shutting_down")
    assert int(error.headers["Retry-After"]) > 0


def test_waits_end_and_later_ones_do_not_begin() -> None:
    async def run() -> list[int]:
        stop = Stop()
        tasks = [asyncio.create_task(waits(stop)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        stop.set()
        ended = await asyncio.gather(*tasks, waits(stop), return_exceptions=True)
        return [error.status for error in ended if isinstance(error, ApiError)]

    assert asyncio.run(run()) == [503] * 4


def test_task_goes_on_after_the_end_of_its_wait() -> None:
    async def run() -> int:
        stop = Stop()

        async def answer() -> int:
            try:
                await waits(stop)
            except ApiError as error:
                await asyncio.sleep(0.01)  # a task that still counts as cancelled would not come here
                current = asyncio.current_task()
                assert current is not None
                return error.status + current.cancelling()
            return 0

        task = asyncio.create_task(answer())
        await asyncio.sleep(0)
        stop.set()
        return await task

    assert asyncio.run(run()) == 503


def test_cancelling_by_others_is_not_an_answer() -> None:
    async def run(*, both: bool) -> None:
        stop = Stop()
        task = asyncio.create_task(waits(stop))
        await asyncio.sleep(0)
        if both:
            stop.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run(both=False))
    asyncio.run(run(both=True))


def test_what_does_not_wait_is_not_ended() -> None:
    async def run() -> str:
        stop = Stop()

        async def work() -> str:
            with stop.ends_wait():
                pass
            await asyncio.sleep(0.02)
            return "done"

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        stop.set()
        return await task

    assert asyncio.run(run()) == "done"
