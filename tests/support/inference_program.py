"""Programs of the Python API that need a process of their own.

python -m tests.support.inference_program whole MODEL FILE    transcribes; prints JSON about the imports
python -m tests.support.inference_program memory MINUTES      transcribes a generated recording; prints JSON
python -m tests.support.inference_program interrupt           waits for a model that is slow, until SIGINT
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

STARTED = time.process_time()

from pipelines.inference import Inference  # noqa: E402  # measured

IMPORTED_S, IMPORTED = time.process_time() - STARTED, set(sys.modules)

from benchmarks.long_recording import EndlessWav  # noqa: E402
from benchmarks.support.processes import peak_mb  # noqa: E402
from model.interface import Request, WindowResult  # noqa: E402
from pipelines.backend import Backend, silero_detector  # noqa: E402
from tests.support.fake_transcribers import FakeTranscriber  # noqa: E402


class SlowTranscriber(FakeTranscriber):
    """Takes a second for each batch."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        print("decoding", flush=True)
        time.sleep(1)
        return super().transcribe(requests)


def loaded(transcriber: FakeTranscriber) -> Inference:
    backend = Backend(lambda _: transcriber, lambda _: ("en", "fr"), silero_detector)
    return Inference("m", backend=backend, vad=False)


def whole(model: str, file: str) -> dict[str, Any]:
    result = Inference(model, vad=False, batch_size=1)(file, return_timestamps="word", language="en")
    return {
        "duration": result["duration"],
        "import_s": IMPORTED_S,
        "imported": sorted(IMPORTED),
        "in_the_end": sorted(sys.modules),
        "threads": threading.active_count(),
    }


def memory(minutes: str) -> dict[str, Any]:
    with loaded(FakeTranscriber()) as inference:
        result = inference(EndlessWav(int(minutes)), language="en")
    return {"minutes": result["duration"] / 60, "n_segments": len(result["segments"]), "peak_mb": peak_mb()}


def interrupt() -> dict[str, Any]:
    return {"text": loaded(SlowTranscriber(batch_size=1))(EndlessWav(60))["text"]}


if __name__ == "__main__":
    programs = {"whole": whole, "memory": memory, "interrupt": interrupt}
    print(json.dumps(programs[sys.argv[1]](*sys.argv[2:])))
