"""Signals that end a run: Ctrl-C, a system that preempts the machine, a terminal that is closed.

A run that is stopped releases its spans in the commit log. For spans that are not released, the next run
assumes that they may have crashed the process.
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

RESUME_HINT = "the run is not finished. To resume it, give the same command again."
INTERRUPTED = f"Interrupted: {RESUME_HINT}"

_ENDS = ("SIGTERM", "SIGHUP")
"""Signals handled beside SIGINT, where no other handler is set: `nohup` ignores SIGHUP. Windows has none."""

Handler = Callable[[int, FrameType | None], object]


class RunStopped(KeyboardInterrupt):
    """A signal ended the run.

    Args:
        signal_number: number of the signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Turns signals into `RunStopped`, and asks the workers in threads to stop.

    Beam turns an exception that a signal raises in a `DoFn` into a `RuntimeError`, and waits for its threads.
    """
    stopped: list[RunStopped] = []

    def stop(signal_number: int, frame: FrameType | None) -> None:
        if stopped and signal_number != signal.SIGINT:  # a closing terminal sends more than one signal
            return
        STOP.set()
        stopped.append(RunStopped(signal_number))
        raise stopped[-1]

    with _handling(stop):
        try:
            yield
        except Exception as error:  # whatever Beam turns the signal in a worker into
            if stopped:
                raise stopped[-1] from error
            if STOP.is_set():
                raise KeyboardInterrupt from error
            raise


@contextmanager
def exiting_immediately() -> Iterator[None]:
    """Makes a signal end the process immediately, while there is nothing to clean up.

    Libraries that are interrupted during their import raise errors of their own, or print the interrupt.
    """

    def exit_now(signal_number: int, frame: FrameType | None) -> NoReturn:
        with suppress(OSError):
            os.write(2, f"{_sentence(signal_number)}\n".encode())
        os._exit(128 + signal_number)

    with _handling(exit_now):
        yield


def report_interrupt(error: KeyboardInterrupt) -> int:
    """Prints how to resume the run; returns a shell's exit code: 128 plus the number of the signal."""
    signal_number = error.signal_number if isinstance(error, RunStopped) else signal.SIGINT
    with suppress(OSError):  # the terminal may be gone
        print(_sentence(signal_number), file=sys.stderr, flush=True)
    return 128 + signal_number


def _sentence(signal_number: int) -> str:
    name = signal.Signals(signal_number).name
    return INTERRUPTED if name == "SIGINT" else f"Stopped by {name}: {RESUME_HINT}"


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    # Python sets handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
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
