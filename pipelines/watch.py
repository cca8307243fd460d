"""Progress of a run on the standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from tqdm import tqdm

from transforms.progress import PROGRESS, Tally

BAR_EVERY_S = 0.5
LINE_EVERY_S = 30.0


@contextmanager
def shown_progress(total: int | None) -> Iterator[None]:
    """Shows what `PROGRESS` tells until the block ends.

    Args:
        total: recordings that were listed; None where that is not known.
    """
    started = perf_counter()
    done = threading.Event()
    show, every_s = (_bar(total), BAR_EVERY_S) if sys.stderr.isatty() else (_line(total), LINE_EVERY_S)

    def watch() -> None:
        while not done.wait(every_s):
            show(PROGRESS.tally(), perf_counter() - started, False)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show(PROGRESS.tally(), perf_counter() - started, True)


def told(tally: Tally, elapsed_s: float) -> str:
    """`0.31 hours of audio, 14.2 times real time, 0 failures`."""
    return (
        f"{tally.audio_s / 3600:.2f} hours of audio, {tally.audio_s / elapsed_s:.1f} times real time, "
        f"{tally.failures} failures"
    )


def _bar(total: int | None) -> Callable[[Tally, float, bool], None]:
    bar = tqdm(total=total, unit="rec", file=sys.stderr, dynamic_ncols=True)

    def show(tally: Tally, elapsed_s: float, last: bool) -> None:
        bar.n = tally.recordings
        bar.set_postfix_str(told(tally, elapsed_s))
        if last:
            bar.close()

    return show


def _line(total: int | None) -> Callable[[Tally, float, bool], None]:
    of_total = "" if total is None else f" of {total}"

    def show(tally: Tally, elapsed_s: float, last: bool) -> None:
        if not last:  # the closing summary says the rest
            print(f"{tally.recordings}{of_total} recordings, {told(tally, elapsed_s)}", file=sys.stderr)

    return show
