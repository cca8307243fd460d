"""`whisper-beam serve` over generated tones, with a model that is held up.

python -m tests.support.serve_program OPTION...

Environment: LOAD_S, seconds that loading takes; GATE, a file that calls of the model wait for; MISSING, names
of modules that cannot be imported, separated by commas.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of


class HeldToneTranscriber(ToneTranscriber):
    """Waits for `GATE` in each call."""

    max_concurrent_calls = 1
    arithmetic = ""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        while not Path(os.environ.get("GATE", "/")).exists():
            time.sleep(0.01)
        return super().transcribe(requests)


def load_slowly(options: ModelOptions) -> HeldToneTranscriber:
    time.sleep(float(os.environ.get("LOAD_S", "0")))
    return HeldToneTranscriber(options.batch_size)


if __name__ == "__main__":
    for name in filter(None, os.environ.get("MISSING", "").split(",")):
        sys.modules[name] = None  # type: ignore[assignment]
    from pipelines.server.command import main

    sys.exit(main(sys.argv[1:], Backend(load_slowly, languages_of, ToneDetector)))
