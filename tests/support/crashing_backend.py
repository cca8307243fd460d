"""A model that dies of one recording, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from model.interface import Request, TranscriberSettings, WindowResult
from pipelines.backend import Backend
from tests.support.tone_backend import ToneDetector, ToneTranscriber, languages_of


class DeadlyTones(ToneTranscriber):
    """Is killed, as by a system that is out of memory, where others would raise an exception."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        try:
            return super().transcribe(requests)
        except RuntimeError:
            os.kill(os.getpid(), signal.SIGKILL)
            raise


def load_deadly(settings: TranscriberSettings) -> DeadlyTones:
    return DeadlyTones(settings.batch_size)


DEADLY = Backend(load_deadly, languages_of, ToneDetector)
