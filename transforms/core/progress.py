"""How far a run is: a tally of this process for the progress bar."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from transforms.core.cancellation import STOP, check_stop


@dataclass(frozen=True)
class Tally:
    """Counts of this process, since `PROGRESS.reset()`."""

    recordings: int = 0
    failures: int = 0
    audio_s: float = 0.0
    resumed: int = 0  # of the recordings, those that were done before this run began


@dataclass
class Progress:
    """A `Tally` that threads may add to. One a process: `PROGRESS`."""

    _tally: Tally = Tally()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Begins a run."""
        with self._lock:
            self._tally = Tally()
        STOP.clear()

    def add(self, *, recordings: int = 0, failures: int = 0, audio_s: float = 0.0, resumed: int = 0) -> None:
        """Adds to the tally."""
        with self._lock:
            now = self._tally
            self._tally = replace(
                now,
                recordings=now.recordings + recordings,
                failures=now.failures + failures,
                audio_s=now.audio_s + audio_s,
                resumed=now.resumed + resumed,
            )

    def tally(self) -> Tally:
        """The counts now."""
        with self._lock:
            return self._tally

    def request_stop(self) -> None:
        """Lets the next `check` raise."""
        STOP.set()

    def check(self) -> None:
        """Raises `StopRequestedError` once a stop was requested."""
        check_stop()


PROGRESS = Progress()
