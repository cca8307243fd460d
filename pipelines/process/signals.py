"""Signals that end a run: of Ctrl-C, of a system that wants its machine back, of a terminal that is closed.

A run that is told to stop says in its log what it leaves; one that dies may have died of its recordings.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from transforms.core.cancellation import STOP

GO_ON = "the run is not finished. To go on, give the same command again."
INTERRUPTED = f"Interrupted: {GO_ON}"

_ENDS = ("SIGTERM", "SIGHUP")
"""Beside Ctrl-C. Taken only where nobody else does: `nohup` has SIGHUP ignored. Windows has no SIGHUP."""

Handler = Callable[[int, FrameType | None], object]


class RunStopped(KeyboardInterrupt):
    """A signal ended the run.

    Args:
        signal_number: which.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Lets signals stop workers in threads too, and come out as `RunStopped`.

    Beam makes a `RuntimeError` of what a signal raises in a `DoFn`, and waits for threads to end.
    """
    stopped: list[RunStopped] = []

    def stop(signal_number: int, frame: FrameType | None) -> None:
        if stopped and signal_number != signal.SIGINT:  # a terminal that closes says so more than once
            return
        STOP.set()
        stopped.append(RunStopped(signal_number))
        raise stopped[-1]

    with _handling(stop):
        try:
            yield
        except Exception as error:  # whatever Beam makes of the signal that a worker met
            if stopped:
                raise stopped[-1] from error
            if STOP.is_set():
                raise KeyboardInterrupt from error
            raise


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Has a signal end the process on the spot, while there is nothing to tidy up.

    Libraries that are interrupted while they are imported make errors of their own of it, or print it.
    """

    def leave(signal_number: int, frame: FrameType | None) -> NoReturn:
        with suppress(OSError):
            os.write(2, f"{_sentence(signal_number)}\n".encode())
        os._exit(128 + signal_number)

    with _handling(leave):
        yield


def told_interrupt(error: KeyboardInterrupt) -> int:
    """Says how to go on; gives the exit code, as shells have it: 128 and the signal's number."""
    signal_number = error.signal_number if isinstance(error, RunStopped) else signal.SIGINT
    with suppress(OSError):  # the terminal may be gone
        print(_sentence(signal_number), file=sys.stderr, flush=True)
    return 128 + signal_number


def _sentence(signal_number: int) -> str:
    name = signal.Signals(signal_number).name
    return INTERRUPTED if name == "SIGINT" else f"Stopped by {name}: {GO_ON}"


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals are not ours to handle
        yield
        return
    free = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
    free = [number for number in free if signal.getsignal(number) is signal.SIG_DFL]
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, *free)}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)
