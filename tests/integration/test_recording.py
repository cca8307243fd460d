"""The same recordings through the graph and through `RecordingTranscriber`: the same rows, to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.interface import AUTO_PER_WINDOW, TRANSCRIBE, DecodingOptions, ModelOptions
from model.option_fields import select_options
from pipelines.backend import Backend
from pipelines.option_groups import SPEECH
from pipelines.options import TranscribeOptions
from tests.support.same_rows import lines, lines_of_command, write_tones
from tests.support.tone_backend import TONES, write_talk
from transforms.core.cancellation import StopRequestedError
from transforms.core.metrics import CountingMetrics
from transforms.core.run_context import RunContext
from transforms.core.types import AudioSource
from transforms.core.uris import audio_source
from transforms.fetch.policy import FetchPolicy
from transforms.merging.settings import MergeSettings
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.loaded_model import LoadedModel
from transforms.recognition.recording import RecordingTranscriber, TranscribedRecording
from transforms.windows.plan import WindowPlan
from transforms.writing.rows import failure_row, transcript_row

COUNTED = ("windows", "windows_fallback", "windows_without_text", "remainders", "remainders_dropped")


def transcriber(options: TranscribeOptions, backend: Backend, context: RunContext) -> RecordingTranscriber:
    model = LoadedModel(backend.load(select_options(options, ModelOptions)))
    languages = backend.languages(options.model)
    return RecordingTranscriber(
        new_client=lambda: model.client(context),
        plan=WindowPlan(
            options.chunk_length_s,
            options.stride_length_s,
            backend.detector if options.vad else None,
            over_speech=options.windows == SPEECH,
        ),
        merge=MergeSettings(
            languages[0] if len(languages) == 1 else options.language_code(languages),
            per_window=options.language == AUTO_PER_WINDOW,
            redecode_below=options.redecode_boundaries,
            window_s=options.chunk_length_s,
            task=options.task or TRANSCRIBE,
            model=options.model,
        ),
        decoding=select_options(options, DecodingOptions),
        fallback=select_options(options, FallbackPolicy),
        filters=options.filters(),
        fetch=select_options(options, FetchPolicy),
        context=context,
    )


def compare(paths: list[Path], out: Path, backend: Backend, **given: Any) -> None:  # noqa: ANN401
    """Rows, failures and counts of both ways are the same, and so are the segments that were yielded."""
    written, failed = lines_of_command(paths, out, backend, **given)
    options = TranscribeOptions(input=tuple(map(str, paths)), output=str(out), **given)
    context = RunContext(CountingMetrics())
    own = transcriber(options, backend, context)
    sources = [
        replace(audio_source(str(path)), channel=options.channel(), clip_timestamps=options.clips())
        for path in paths
    ]
    outcomes = [own.transcribe(source) for source in sources]
    assert lines(transcript_row(one.transcript) for one in outcomes if one.transcript) == written
    assert lines(failure_row(failure) for one in outcomes for failure in one.failures) == failed
    assert context.progress.tally().recordings == len(paths)
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert isinstance(context.metrics, CountingMetrics)
    assert {name: context.metrics.counters[name] for name in COUNTED} == {
        name: counts[name] for name in COUNTED
    }
    for source, outcome in zip(sources, outcomes, strict=True):
        segments = tuple(own.stream(source))
        assert outcome.transcript is None or segments == outcome.transcript.segments


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"language": "fr"},
        {"language": AUTO_PER_WINDOW, "windows": "grid"},
        {"vad": False, "redecode_boundaries": 0.9},
        {"clip_timestamps": (2.0, 7.5, 34.0, 79.0, 500.0), "redecode_boundaries": 0.9},
        {"clip_timestamps": (60.0,), "windows": "grid", "language": "en"},
        {"channels": "right", "language": "en", "task": "translate"},
    ],
)
def test_rows_are_those_of_the_graph(tmp_path: Path, flags: dict[str, Any]) -> None:
    compare(write_tones(tmp_path), tmp_path / "out", TONES, batch_size=3, **flags)


def test_segments_are_yielded_while_the_recording_is_read(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "long.wav", 600)
    options = TranscribeOptions(input=(str(path),), output=str(tmp_path / "out"), language="en", batch_size=1)
    context = RunContext()
    stream = transcriber(options, TONES, context).stream(audio_source(str(path)))
    assert next(stream).text == " en0"
    assert context.progress.tally().audio_s < 300
    stream.close()


def test_what_a_caller_stops_is_not_decoded_to_its_end(tmp_path: Path) -> None:
    path, n_checks = write_talk(tmp_path / "long.wav", 300), 0

    class CancelledError(StopRequestedError):
        pass

    def check() -> None:
        nonlocal n_checks
        n_checks += 1
        if n_checks == 5:
            raise CancelledError

    options = TranscribeOptions(input=(str(path),), output=str(tmp_path / "out"), language="en")
    with pytest.raises(CancelledError):
        transcriber(options, TONES, RunContext(check=check)).transcribe(audio_source(str(path)))


def test_a_recording_of_bytes_needs_no_file(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 3)
    options = TranscribeOptions(input=(str(path),), output=str(tmp_path / "out"))
    source = AudioSource("upload", "upload", payload=path.read_bytes(), start_s=1.0)
    outcome: TranscribedRecording = transcriber(options, TONES, RunContext()).transcribe(source)
    assert outcome.transcript is not None
    assert outcome.transcript.text == "en1 en2"
    assert [segment.start_s for segment in outcome.transcript.segments] == [1.0, 2.0]
