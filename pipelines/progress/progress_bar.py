"""Progress of a run on the standard error: a bar on a terminal, a line every 30 s in a log."""

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
MIN_ELAPSED_S = 10.0  # before that, the measured time is mostly loading and compiling
MIN_RECORDINGS = 3  # and a 200th of all, as the lengths of recordings differ


@dataclass
class RunProgress:
    """Progress of a run while it executes.

    Attributes:
        total: number of recordings listed; None if it is unknown.
        in_process: whether the workers are threads of this process; other workers' tally is not visible here.
    """

    total: int | None
    in_process: bool = True
    _started: float = field(default_factory=perf_counter)
    _final: Tally | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was created."""
        return perf_counter() - self._started

    def tally(self) -> Tally | None:
        """Returns the counts so far; None if they are unknown."""
        if self._final is not None:
            return self._final
        return PROGRESS.tally() if self.in_process else None

    def set_final_counts(self, counters: Mapping[str, int]) -> None:
        """Sets the final counts from Beam's counters, which are known once the pipeline has ended."""
        self._final = Tally(
            recordings=counters.get("listed", 0) - counters.get("duplicates", 0),
            failures=counters.get("failures", 0),
            audio_s=counters.get("audio_ms", 0) / 1000,
        )


def time_left_s(tally: Tally, total: int | None, elapsed_s: float) -> float | None:
    """Estimates the seconds until all recordings are done; None while too few are for an estimate.

    Args:
        tally: counts so far.
        total: number of recordings listed, if known.
        elapsed_s: seconds since the run started.
    """
    done = tally.recordings - tally.resumed  # recordings done by an earlier run took no time in this one
    if total is None or elapsed_s < MIN_ELAPSED_S or done < max(MIN_RECORDINGS, total / 200):
        return None
    return elapsed_s / done * max(total - tally.recordings, 0)


def format_progress(tally: Tally, total: int | None, elapsed_s: float) -> str:
    """Formats the progress: `0.31 hours of audio, 14.2 times real time, 0 failures, 5 min 20 s left`."""
    left_s = time_left_s(tally, total, elapsed_s)
    left = "time left unknown" if left_s is None else f"{format_duration(left_s)} left"
    return (
        f"{tally.audio_s / 3600:.2f} hours of audio, {tally.audio_s / elapsed_s:.1f} times real time, "
        f"{tally.failures} failures, {left}"
    )


def format_duration(seconds: float) -> str:
    """Formats a duration: `2 h 05 min`, `5 min 20 s` or `20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def show_progress(run_progress: RunProgress) -> Iterator[None]:
    """Shows the progress of the run until the block ends."""
    done = threading.Event()
    if sys.stderr.isatty():
        show, every_s = _bar(run_progress), BAR_EVERY_S
    else:
        show, every_s = _line(run_progress), LINE_EVERY_S

    def update() -> None:
        while not done.wait(every_s):
            show(False)

    thread = threading.Thread(target=update, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show(True)


def _bar(run_progress: RunProgress) -> Callable[[bool], None]:
    counts = "{n_fmt}/{total_fmt} recordings" if run_progress.total is not None else "{n_fmt} recordings"
    layout = f"{{percentage:3.0f}}%|{{bar}}| {counts}" if run_progress.total else counts
    if not run_progress.in_process:
        layout = "running in other processes, progress unknown"
    bar = tqdm(
        total=run_progress.total,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format=f"{layout} [{{elapsed}}{{postfix}}]",
    )

    def show(last: bool) -> None:
        tally = run_progress.tally()
        if tally is not None:
            bar.n = tally.recordings
            bar.set_postfix_str(
                format_progress(tally, run_progress.total, run_progress.elapsed_s), refresh=False
            )
        bar.refresh()
        if last:
            bar.close()

    return show


def _line(run_progress: RunProgress) -> Callable[[bool], None]:
    of_total = "" if run_progress.total is None else f" of {run_progress.total}"

    def show(last: bool) -> None:
        tally = run_progress.tally()
        if tally is not None and not last:  # the summary at the end has the final counts
            message = format_progress(tally, run_progress.total, run_progress.elapsed_s)
            print(f"{tally.recordings}{of_total} recordings, {message}", file=sys.stderr)

    return show
