"""`RecordingTranscriber` by itself; tests/integration/test_recording.py compares it with the graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.interface import Request, WindowResult
from tests.support.tone_backend import ToneDetector, ToneTranscriber, write_talk
from transforms.core.metrics import CountingMetrics
from transforms.core.run_context import RunContext
from transforms.core.types import Segment, Untranscribed
from transforms.core.uris import audio_source
from transforms.merging.settings import MergeSettings
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.lanes import ModelError
from transforms.recognition.recording import RecordingTranscriber, TranscribedRecording
from transforms.windows.plan import WindowPlan

PLAN = WindowPlan(30, 5, ToneDetector, over_speech=False)


class OneByOneClient:
    """Decodes a request whenever it is asked, the last submitted first."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cancelled = False
        self._transcriber = ToneTranscriber(1)

    def submit(self, request: Request, priority: int = 0) -> None:
        self.requests.append(request)

    def completed(self, *, wait: bool) -> list[tuple[Request, WindowResult | Exception]]:
        if not self.requests or (not wait and len(self.requests) < 3):
            return []
        request = self.requests.pop()
        try:
            return [(request, *self._transcriber.transcribe([request]))]
        except RuntimeError as error:
            return [(request, error)]

    def cancel(self) -> None:
        self.requests.clear()
        self.cancelled = True


def transcriber(merge: MergeSettings, context: RunContext | None = None) -> RecordingTranscriber:
    return RecordingTranscriber(
        new_client=OneByOneClient,
        plan=PLAN,
        merge=merge,
        fallback=FallbackPolicy(temperature=(0.0,)),
        context=context or RunContext(),
    )


@pytest.mark.parametrize("module", ["recognizer", "recording"])
def test_importing_takes_neither_beam_nor_jax(module: str) -> None:
    program = f"import sys, transforms.recognition.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "transforms" in loaded
    assert loaded.isdisjoint({"apache_beam", "jax", "flax", "pipelines"})


@pytest.mark.parametrize("merge", [MergeSettings("en"), MergeSettings()])
def test_windows_may_finish_in_any_order(tmp_path: Path, merge: MergeSettings) -> None:
    source = audio_source(str(write_talk(tmp_path / "talk.wav", 200)))
    segments = list[Segment]()
    stream = transcriber(merge).stream(source)
    while True:
        try:
            segments.append(next(stream))
        except StopIteration as stop:
            outcome: TranscribedRecording = stop.value
            break
    assert outcome.transcript is not None
    assert [segment.text for segment in segments] == [f" en{second}" for second in range(200)]
    assert tuple(segments) == outcome.transcript.segments
    assert outcome.failures == ()


def test_a_window_that_fails_is_a_failure_and_the_others_are_merged(tmp_path: Path) -> None:
    source = audio_source(str(write_talk(tmp_path / "talk.wav", 90, poison=70)))
    context = RunContext(CountingMetrics())
    outcome = transcriber(MergeSettings("en"), context).transcribe(source)
    assert outcome.transcript is not None
    assert "en49" in outcome.transcript.text
    assert "en60" not in outcome.transcript.text
    assert [failure.kind for failure in outcome.failures] == ["model_error"]
    assert outcome.transcript.untranscribed == (Untranscribed(55.0, 75.0, "failed"),)
    assert outcome.transcript.problem is not None
    assert "seconds 55.00 to 75.00" in outcome.transcript.problem
    assert isinstance(context.metrics, CountingMetrics)
    assert context.metrics.counters["windows"] == 3


def test_a_file_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    outcome = transcriber(MergeSettings("en")).transcribe(audio_source(str(tmp_path / "missing.wav")))
    assert (outcome.recording, outcome.transcript) == (None, None)
    assert [failure.kind for failure in outcome.failures] == ["not_found"]


def test_closing_the_stream_cancels_the_requests(tmp_path: Path) -> None:
    client = OneByOneClient()
    own = RecordingTranscriber(new_client=lambda: client, plan=PLAN, merge=MergeSettings("en"))
    stream = own.stream(audio_source(str(write_talk(tmp_path / "talk.wav", 300))))
    next(stream)
    stream.close()
    assert client.cancelled
    assert client.requests == []


def test_a_model_that_does_not_work_ends_the_recording(tmp_path: Path) -> None:
    class Broken(OneByOneClient):
        def completed(self, *, wait: bool) -> list[tuple[Request, WindowResult | Exception]]:
            raise ModelError("out of memory")

    own = RecordingTranscriber(new_client=Broken, plan=PLAN, merge=MergeSettings("en"))
    with pytest.raises(ModelError):
        own.transcribe(audio_source(str(write_talk(tmp_path / "talk.wav", 40))))
