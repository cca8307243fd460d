"""`DIR/progress.json`: progress of a run and how it ended, for monitoring from elsewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.output.run_files import PROGRESS_FILE
from pipelines.output.run_folder import RunFolder
from pipelines.progress.progress_bar import RunProgress, time_left_s
from transforms.core.redaction import redact

LOCAL_EVERY_S = 10.0
REMOTE_EVERY_S = 30.0  # object stores charge for each request

_LOGGER = logging.getLogger(__name__)


@contextmanager
def heartbeat(folder: RunFolder, run_progress: RunProgress) -> Iterator[None]:
    """Rewrites the file periodically until the block ends, then once more with the final state.

    `state` is `running`, then `finished`; or `interrupted` or `failed` if the block raises. The file of a
    killed run stays `running`, and its `updated` is no longer recent. A run continues if the file cannot be
    written.
    """
    file, done = _File(folder, run_progress), threading.Event()
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
    run_progress: RunProgress
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    warned: bool = False

    def write(self, state: str) -> None:
        try:
            self.folder.write_progress(progress_record(self.run_progress, state, self.started))
        except Exception as error:  # of any filesystem; the run does not depend on this file
            if not self.warned:
                reason = redact(" ".join(str(error).split()) or type(error).__name__)
                _LOGGER.warning("%s is not up to date (%s); the run continues", PROGRESS_FILE, reason)
            self.warned = True


def progress_record(run_progress: RunProgress, state: str, started: datetime) -> dict[str, Any]:
    """Returns the content of the file; unknown values are None."""
    tally, elapsed_s = run_progress.tally(), run_progress.elapsed_s
    left_s = 0.0 if state == "finished" else None
    if tally is not None and state == "running":
        left_s = time_left_s(tally, run_progress.total, elapsed_s)
    return {
        "state": state,
        "started": _format_time(started),
        "updated": _format_time(datetime.now(UTC)),
        "recordings": None if tally is None else tally.recordings,
        "of": run_progress.total,
        "failures": None if tally is None else tally.failures,
        "audio_hours": None if tally is None else round(tally.audio_s / 3600, 6),
        "times_real_time": None if tally is None else round(tally.audio_s / elapsed_s, 3),
        "eta_s": None if left_s is None else round(left_s),
    }


def _format_time(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
