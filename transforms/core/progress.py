"""Progress of a run: a tally of this process, for the progress bar."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from transforms.core.cancellation import STOP


@dataclass(frozen=True)
class Tally:
    """Counts of this process, since `PROGRESS.reset()`."""

    recordings: int = 0
    failures: int = 0
    audio_s: float = 0.0
    resumed: int = 0  # of the recordings, those completed before this run started


@dataclass
class Progress:
    """A `Tally` that threads may add to; one per process: `PROGRESS`."""

    _tally: Tally = Tally()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Starts a run: resets the tally and cancellation."""
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
        """Returns the current counts."""
        with self._lock:
            return self._tally


PROGRESS = Progress()
"""The progress of the pipeline that runs in this process."""
