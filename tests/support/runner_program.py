"""A run in a process of its own, over generated tones, with a model that is slow and notes who asked it.

python -m tests.support.runner_program FOLDER OPTION...     notes are FOLDER/*.log
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model.interface import Request, TranscriberSettings, WindowResult
from pipelines.backend import Backend
from pipelines.transcribe import main
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of

WINDOW_S = 0.1
LOADED, ASKED = "loaded.log", "asked.log"


class NotedTones(ToneTranscriber):
    """Notes, a line a batch, the process that it is in and how many windows there are."""

    def __init__(self, batch_size: int, folder: Path) -> None:
        super().__init__(batch_size)
        self._folder = folder

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        note(self._folder / ASKED, f"{os.getpid()} {len(requests)}")
        time.sleep(WINDOW_S * len(requests))
        return super().transcribe(requests)


def load_noted(folder: Path, settings: TranscriberSettings) -> NotedTones:
    note(folder / LOADED, f"{os.getpid()}")
    return NotedTones(settings.batch_size, folder)


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    from tests.runners import program  # what is pickled must not be of `__main__`, which workers do not have

    folder = Path(sys.argv[1])
    backend = Backend(partial(program.load_noted, folder), languages_of, ToneDetector)
    sys.exit(main(["--batch_size", "2", *sys.argv[2:]], backend))
