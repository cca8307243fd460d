"""Downloads recordings ahead of their reading, several at a time: a slow server delays no other recording."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import BinaryIO

from transforms.checkpoint.spans import WorkUnit
from transforms.core.cancellation import CHECK_S, Check, StopRequestedError
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.core.uris import is_url
from transforms.fetch.open_audio import Opener, open_audio
from transforms.fetch.policy import FetchPolicy

MAX_AHEAD = 8
"""Recordings that are fetched at a time: as many as one host is asked for at once (`transforms.fetch`)."""

Opened = tuple[ExitStack, BinaryIO]


class FetchAhead:
    """Recordings of URLs that are being fetched, each in a thread; the first that is there is taken first.

    Parts of one file are fetched, and taken, together. Copies are in memory or in temporary files whose total
    size is limited (`transforms.fetch.spool`).

    Args:
        policy: which URIs may be fetched.
        check: called repeatedly during a download and a wait; may raise.
        opener: opens the file of a recording.
    """

    def __init__(self, policy: FetchPolicy, check: Check, opener: Opener = open_audio) -> None:
        self._policy, self._check, self._open = policy, check, opener
        self._pool = ThreadPoolExecutor(MAX_AHEAD, "fetch")
        self._waiting: dict[Future[Opened], list[WorkUnit]] = {}
        self._n_taken = 0
        self._n_taken_before: dict[Future[Opened], int] = {}  # when it was submitted
        self._cancelled = threading.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @staticmethod
    def accepts(unit: WorkUnit) -> bool:
        """Whether a unit is fetched ahead: a URL, unless it may crash the process and is read by itself."""
        source = unit.span.source
        return source.payload is None and is_url(source.uri) and not unit.is_suspect

    @property
    def is_full(self) -> bool:
        """Whether `MAX_AHEAD` files are being fetched or wait to be taken."""
        return len(self._waiting) >= MAX_AHEAD

    def submit(self, unit: WorkUnit) -> bool:
        """Starts to fetch a unit; returns False if its file is being fetched already, for another one."""
        for units in self._waiting.values():
            if units[0].span.source.uri == unit.span.source.uri:
                units.append(unit)
                return False
        self._submit([unit])
        return True

    def take(self, *, block: bool) -> tuple[list[WorkUnit], Opener] | None:
        """Removes the first file that was fetched, or has failed; returns its units and how to open it.

        The copy can be opened once; the error of a download is raised each time.

        Args:
            block: wait for one; else None is returned if there is none. One must have been submitted.

        Raises:
            StopRequestedError: the work was cancelled during the wait.
        """
        while True:
            done, _ = wait(self._waiting, CHECK_S if block else 0, FIRST_COMPLETED)
            for future, units in self._waiting.items():
                if future in done:
                    del self._waiting[future]
                    if self._n_taken_before.pop(future) < self._n_taken and _lacked_room(future):
                        self._submit(units)  # copies taken since have held the disk
                        break
                    self._n_taken += 1
                    return units, _opener_of(future)
            if not block:
                return None
            self._check()

    def close(self) -> None:
        """Ends downloads, and drops the copies that were not taken."""
        self._cancelled.set()
        for future in self._waiting:
            if not future.cancel():
                future.add_done_callback(_drop)
        self._waiting.clear()
        self._n_taken_before.clear()
        self._pool.shutdown(wait=False)

    def _submit(self, units: list[WorkUnit]) -> None:
        future = self._pool.submit(self._fetch, units[0].span.source)
        self._waiting[future], self._n_taken_before[future] = units, self._n_taken

    def _fetch(self, source: AudioSource) -> Opened:
        with ExitStack() as stack:
            file = stack.enter_context(self._open(source, self._policy, self._check_both))
            return stack.pop_all(), file
        raise AssertionError("no context manager of a file suppresses exceptions")

    def _check_both(self) -> None:
        if self._cancelled.is_set():
            raise StopRequestedError("the recording is not needed any more")
        self._check()


def _lacked_room(future: Future[Opened]) -> bool:
    error = future.exception()
    return isinstance(error, AudioError) and error.kind == "no_room"


def _opener_of(future: Future[Opened]) -> Opener:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        stack, file = future.result()
        with stack:
            yield file

    open_copy: Callable[..., AbstractContextManager[BinaryIO]] = lambda *_: opened()  # noqa: E731
    return open_copy


def _drop(future: Future[Opened]) -> None:
    with suppress(Exception, CancelledError):  # of a download that nobody needs any more
        future.result()[0].close()
