"""Progress of a run on the standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from tqdm import tqdm

from transforms.core.progress import PROGRESS, Tally

BAR_EVERY_S = 0.5
LINE_EVERY_S = 30.0
ENOUGH_S = 10.0  # before, what is measured is loading and compiling
ENOUGH_RECORDINGS = 3  # and a 200th of all: recordings are of many lengths


@dataclass
class Watch:
    """What is known of a run while it goes on.

    Attributes:
        total: recordings that were listed; None where that is not known.
        seen: whether workers are threads of this process; the tally of others is not seen from here.
    """

    total: int | None
    seen: bool = True
    _begun: float = field(default_factory=perf_counter)
    _settled: Tally | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the watch was made."""
        return perf_counter() - self._begun

    def tally(self) -> Tally | None:
        """What has been done so far; None where that cannot be known."""
        if self._settled is not None:
            return self._settled
        return PROGRESS.tally() if self.seen else None

    def settle(self, counters: Mapping[str, int]) -> None:
        """Takes the truth from Beam's counters, which are known once the pipeline has ended."""
        self._settled = Tally(
            recordings=counters.get("listed", 0) - counters.get("duplicates", 0),
            failures=counters.get("failures", 0),
            audio_s=counters.get("audio_ms", 0) / 1000,
        )


def time_left_s(tally: Tally, total: int | None, elapsed_s: float) -> float | None:
    """Seconds until all recordings are done, if they go on as they did; None while too few are.

    Args:
        tally: what is done.
        total: recordings that were listed, if that is known.
        elapsed_s: since the run began.
    """
    done = tally.recordings - tally.resumed  # what was done before says nothing of how fast it goes now
    if total is None or elapsed_s < ENOUGH_S or done < max(ENOUGH_RECORDINGS, total / 200):
        return None
    return elapsed_s / done * max(total - tally.recordings, 0)


def told(tally: Tally, total: int | None, elapsed_s: float) -> str:
    """`0.31 hours of audio, 14.2 times real time, 0 failures, 5 min 20 s left`."""
    left_s = time_left_s(tally, total, elapsed_s)
    left = "time left unknown" if left_s is None else f"{clock(left_s)} left"
    return (
        f"{tally.audio_s / 3600:.2f} hours of audio, {tally.audio_s / elapsed_s:.1f} times real time, "
        f"{tally.failures} failures, {left}"
    )


def clock(seconds: float) -> str:
    """`2 h 05 min`, `5 min 20 s` or `20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def shown_progress(watch: Watch) -> Iterator[None]:
    """Shows how far the run is until the block ends."""
    done = threading.Event()
    if sys.stderr.isatty():
        show, every_s = _bar(watch), BAR_EVERY_S
    else:
        show, every_s = _line(watch), LINE_EVERY_S

    def go_on() -> None:
        while not done.wait(every_s):
            show(False)

    thread = threading.Thread(target=go_on, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show(True)


def _bar(watch: Watch) -> Callable[[bool], None]:
    counts = "{n_fmt}/{total_fmt} recordings" if watch.total is not None else "{n_fmt} recordings"
    layout = f"{{percentage:3.0f}}%|{{bar}}| {counts}" if watch.total else counts
    if not watch.seen:
        layout = "workers are other processes, whose progress is not seen here"
    bar = tqdm(
        total=watch.total,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format=f"{layout} [{{elapsed}}{{postfix}}]",
    )

    def show(last: bool) -> None:
        tally = watch.tally()
        if tally is not None:
            bar.n = tally.recordings
            bar.set_postfix_str(told(tally, watch.total, watch.elapsed_s), refresh=False)
        bar.refresh()
        if last:
            bar.close()

    return show


def _line(watch: Watch) -> Callable[[bool], None]:
    of_total = "" if watch.total is None else f" of {watch.total}"

    def show(last: bool) -> None:
        tally = watch.tally()
        if tally is not None and not last:  # the closing summary says the rest
            said = told(tally, watch.total, watch.elapsed_s)
            print(f"{tally.recordings}{of_total} recordings, {said}", file=sys.stderr)

    return show
