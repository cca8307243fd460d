"""`whisper-beam serve` over generated tones, with a model that takes its time.

python -m tests.support.serve_program OPTION...

Environment: LOAD_S and CALL_S, seconds that loading and each call of the model take; MISSING, names of
modules that cannot be imported, separated by commas.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of


class SlowToneTranscriber(ToneTranscriber):
    """Takes `CALL_S` for each call."""

    max_concurrent_calls = 1

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        time.sleep(float(os.environ.get("CALL_S", "0")))
        return super().transcribe(requests)


def load_slowly(options: ModelOptions) -> SlowToneTranscriber:
    time.sleep(float(os.environ.get("LOAD_S", "0")))
    return SlowToneTranscriber(options.batch_size)


if __name__ == "__main__":
    for name in filter(None, os.environ.get("MISSING", "").split(",")):
        sys.modules[name] = None  # type: ignore[assignment]
    from pipelines.server.command import main

    sys.exit(main(sys.argv[1:], Backend(load_slowly, languages_of, ToneDetector)))
