"""`DIR/progress.json`: how far a run is, and how it ended, for whoever looks after it from elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.output.run_folder import PROGRESS_FILE, RunFolder
from pipelines.progress.progress_bar import Watch, time_left_s
from transforms.core.redaction import redact

LOCAL_EVERY_S = 10.0
REMOTE_EVERY_S = 30.0  # a bucket is paid for by the request

_LOGGER = logging.getLogger(__name__)


@contextmanager
def heartbeat(folder: RunFolder, watch: Watch) -> Iterator[None]:
    """Rewrites the file now and then until the block ends, and then once more with how it ended.

    Its `state` is `running`; then `finished`, or where the block raises `interrupted` or `failed`. A run that
    was killed stays `running`, and its `updated` grows old. That the file cannot be written stops no run.
    """
    file, done = _File(folder, watch), threading.Event()
    every_s = LOCAL_EVERY_S if folder.is_local else REMOTE_EVERY_S

    def beat() -> None:
        file.write("running")
        while not done.wait(every_s):
            file.write("running")

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    state = "failed"
    try:
        yield
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        done.set()
        thread.join()
        file.write(state)


@dataclass
class _File:
    folder: RunFolder
    watch: Watch
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    warned: bool = False

    def write(self, state: str) -> None:
        try:
            self.folder.write_progress(told_progress(self.watch, state, self.started))
        except Exception as error:  # of whatever filesystem it is; the run is worth more than its progress
            if not self.warned:
                reason = redact(" ".join(str(error).split()) or type(error).__name__)
                _LOGGER.warning("%s is not up to date (%s); the run goes on", PROGRESS_FILE, reason)
            self.warned = True


def told_progress(watch: Watch, state: str, started: datetime) -> dict[str, Any]:
    """The content of the file; what cannot be known is None."""
    tally, elapsed_s = watch.tally(), watch.elapsed_s
    left_s = 0.0 if state == "finished" else None
    if tally is not None and state == "running":
        left_s = time_left_s(tally, watch.total, elapsed_s)
    return {
        "state": state,
        "started": _spelt(started),
        "updated": _spelt(datetime.now(UTC)),
        "recordings": None if tally is None else tally.recordings,
        "of": watch.total,
        "failures": None if tally is None else tally.failures,
        "audio_hours": None if tally is None else round(tally.audio_s / 3600, 6),
        "times_real_time": None if tally is None else round(tally.audio_s / elapsed_s, 3),
        "eta_s": None if left_s is None else round(left_s),
    }


def _spelt(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
