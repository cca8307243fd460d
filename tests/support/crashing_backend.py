"""A model that crashes its process at one recording, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from model.interface import ModelOptions, Request, WindowResult
from pipelines.backend import Backend
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of


class CrashingToneTranscriber(ToneTranscriber):
    """Kills its process, as a system that is out of memory does, instead of raising an exception."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        try:
            return super().transcribe(requests)
        except RuntimeError:
            os.kill(os.getpid(), signal.SIGKILL)
            raise


def load_crashing(options: ModelOptions) -> CrashingToneTranscriber:
    return CrashingToneTranscriber(options.batch_size)


CRASHING = Backend(load_crashing, languages_of, ToneDetector)
