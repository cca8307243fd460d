"""The same recordings through the graph and through `RecordingTranscriber`: the same rows, to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.checkpoint import PACKAGED_MODELS
from model.interface import AUTO_PER_WINDOW, SAMPLE_RATE, DecodingOptions, ModelOptions
from model.option_fields import select_options
from pipelines.backend import WHISPER, Backend
from pipelines.option_groups import SPEECH
from pipelines.options import TranscribeOptions
from pipelines.run import transcribe
from tests.support.tone_backend import FRENCH, TONES, failures, rows, tone, write_sparse, write_talk
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
from transforms.writing.sharded_files import json_line

REAL_SPEECH = Path("../shared/data")
SAMPLES = Path(__file__).parents[2] / "samples"
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
            languages[0] if len(languages) == 1 else options.language_code(),
            per_window=options.language == AUTO_PER_WINDOW,
            redecode_below=options.redecode_boundaries,
            window_s=options.chunk_length_s,
            task=options.task,
            model=options.model,
        ),
        decoding=select_options(options, DecodingOptions),
        fallback=select_options(options, FallbackPolicy),
        filters=options.filters(),
        fetch=select_options(options, FetchPolicy),
        context=context,
    )


def compare(paths: list[Path], options: TranscribeOptions, backend: Backend) -> None:
    """Rows and failures of both ways are the same, and so are the segments that were yielded."""
    transcribe(options, backend=backend)
    out, context = Path(options.output), RunContext(CountingMetrics())
    own = transcriber(options, backend, context)
    outcomes = [own.transcribe(replace(audio_source(str(path)), channel=options.channel())) for path in paths]
    written = sorted(json_line(transcript_row(one.transcript)) for one in outcomes if one.transcript)
    failed = sorted(json_line(failure_row(failure)) for one in outcomes for failure in one.failures)
    assert written == sorted(json_line(row) for row in rows(out))
    assert failed == sorted(json_line(row) for row in failures(out))
    assert context.progress.tally().recordings == len(paths)
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert isinstance(context.metrics, CountingMetrics)
    assert {name: context.metrics.counters[name] for name in COUNTED} == {
        name: counts[name] for name in COUNTED
    }
    for path, outcome in zip(paths, outcomes, strict=True):
        segments = tuple(own.stream(replace(audio_source(str(path)), channel=options.channel())))
        assert outcome.transcript is None or segments == outcome.transcript.segments


@pytest.fixture
def tones(tmp_path: Path) -> list[Path]:
    stereo = np.stack([tone(1), tone(50, FRENCH)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, SAMPLE_RATE)
    cut = write_talk(tmp_path / "cut.wav", 40)
    cut.write_bytes(cut.read_bytes()[: 44 + 2 * 33 * SAMPLE_RATE])
    (tmp_path / "broken.wav").write_bytes(b"<html>")
    return [
        write_talk(tmp_path / "long.wav", 130),
        write_talk(tmp_path / "mixed.wav", 80, french_from=76),
        write_talk(tmp_path / "poisoned.wav", 90, poison=70),
        write_sparse(tmp_path / "sparse.wav", (3, 9), (50, 70)),
        write_sparse(tmp_path / "silent.wav"),
        tmp_path / "stereo.wav",
        cut,
        tmp_path / "broken.wav",
    ]


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"language": "fr"},
        {"language": AUTO_PER_WINDOW, "windows": "grid"},
        {"vad": False, "redecode_boundaries": 0.9},
        {"channels": "right", "language": "en", "task": "translate"},
    ],
)
def test_rows_are_those_of_the_graph(
    tmp_path: Path, tones: list[Path], flags: dict[str, str | bool | float]
) -> None:
    options = TranscribeOptions(
        input=tuple(map(str, tones)),
        output=str(tmp_path / "out"),
        batch_size=3,
        **flags,  # type: ignore[arg-type]
    )
    compare(tones, options, TONES)


@pytest.mark.weights
def test_rows_of_real_speech_are_those_of_the_graph(
    tmp_path: Path,
) -> None:
    if any(file.locate() is None for file in PACKAGED_MODELS["openai/whisper-tiny.en"].files):
        pytest.skip("the package with the weights of openai/whisper-tiny.en is not installed")
    long = REAL_SPEECH / "long"
    folder = long if long.exists() else SAMPLES / "en"
    paths = sorted(path for path in folder.resolve().iterdir() if path.suffix in {".wav", ".mp3", ".flac"})[
        :2
    ]
    options = TranscribeOptions(
        input=tuple(map(str, paths)),
        output=str(tmp_path / "out"),
        model="openai/whisper-tiny.en",
        word_timestamps=True,
        beam_size=2,
    )
    compare(paths, options, WHISPER)


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
