"""A run in its own process over generated tones, with a slow model that logs its calls.

python -m tests.support.runner_program FOLDER OPTION...     the logs are FOLDER/*.log
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from pipelines.transcribe import main
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of

WINDOW_S = 0.1
LOAD_LOG, REQUEST_LOG = "loaded.log", "requests.log"
NO_MODEL = "no_model"
"""A file with which workers cannot load the model."""


class LoggingToneTranscriber(ToneTranscriber):
    """Slow transcriber that logs a line per batch: the process id and the number of windows."""

    def __init__(self, batch_size: int, folder: Path) -> None:
        super().__init__(batch_size)
        self._folder = folder

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        note(self._folder / REQUEST_LOG, f"{os.getpid()} {len(requests)}")
        time.sleep(WINDOW_S * len(requests))
        return super().transcribe(requests)


def load_logging(folder: Path, options: ModelOptions) -> LoggingToneTranscriber:
    note(folder / LOAD_LOG, f"{os.getpid()}")
    if (folder / NO_MODEL).exists():
        raise OSError("there is no model")
    return LoggingToneTranscriber(options.batch_size, folder)


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    from tests.support import runner_program  # workers cannot unpickle functions of `__main__`

    folder = Path(sys.argv[1])
    backend = Backend(partial(runner_program.load_logging, folder), languages_of, ToneDetector)
    sys.exit(main(["--batch_size", "2", *sys.argv[2:]], backend))
