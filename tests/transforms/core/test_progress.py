from __future__ import annotations

from threading import Thread

import pytest

from transforms.core.cancellation import STOP, StopRequestedError, check_stop
from transforms.core.progress import Progress, Tally


def test_threads_may_add_at_the_same_time() -> None:
    progress = Progress()

    def add() -> None:
        for _ in range(500):
            progress.add(recordings=1, failures=2, audio_s=0.5, resumed=3)

    threads = [Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.tally() == Tally(recordings=2000, failures=4000, audio_s=1000.0, resumed=6000)
    progress.reset()
    assert progress.tally() == Tally()


def test_stop_request_lasts_until_the_next_run() -> None:
    progress = Progress()
    check_stop()
    STOP.set()
    with pytest.raises(StopRequestedError):
        check_stop()
    progress.add(recordings=1)
    assert STOP.is_set()
    progress.reset()
    check_stop()


def test_progress_objects_are_independent() -> None:
    one, other = Progress(), Progress()
    one.add(recordings=1)
    assert (one.tally().recordings, other.tally().recordings) == (1, 0)
