"""The Python API beside the pipeline and in processes of its own: the same rows, no Beam, bounded memory."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.support.processes import run_measured
from model.checkpoint import PACKAGED_MODELS
from model.interface import AUTO_PER_WINDOW, SAMPLE_RATE
from pipelines.backend import WHISPER, Backend
from pipelines.inference import CancelledError, Inference, TranscriptionError
from tests.support.same_rows import REAL_OPTIONS, lines, lines_of_command, real_speech, write_tones
from tests.support.servers import Handler, send, serving
from tests.support.tiny_model import save_huggingface, tiny_weights
from tests.support.tone_backend import TONES, expected_text, write_talk
from transforms.writing.rows import failure_row

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
REAL_SPEECH = ROOT / "../shared/data"
PROGRAM = (sys.executable, "-m", "tests.support.inference_program")


def compare(paths: list[Path], out: Path, backend: Backend, **options: Any) -> None:  # noqa: ANN401
    """The rows and failures are those of a run of the pipeline, and the segments those of the rows."""
    expected = lines_of_command(paths, out, backend, **options)
    written: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with Inference(backend=backend, **options) as inference:
        for path in paths:
            try:
                result = inference(path)
            except TranscriptionError as error:
                failed += map(failure_row, error.failures)
                continue
            written.append(result["row"])
            failed += result["failures"]
            keys = ("id", "start", "end", "text", *(["words"] if options.get("word_timestamps") else []))
            assert result["segments"] == [
                {key: one[key] for key in keys} for one in result["row"]["segments"]
            ]
            assert list(inference.stream(path)) == result["segments"]
    assert (lines(written), lines(failed)) == expected
    assert len(written) + len(failed) >= len(paths)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"language": "fr", "word_timestamps": True},
        {"language": AUTO_PER_WINDOW, "windows": "grid", "chunk_length_s": 20, "stride_length_s": 4},
        {"languages": ("fr", "de")},
        {"vad": False, "redecode_boundaries": 0.9, "return_timestamps": False},
        {"channels": "right", "language": "en", "task": "translate"},
    ],
)
def test_rows_are_those_of_the_pipeline(tmp_path: Path, options: dict[str, Any]) -> None:
    compare(write_tones(tmp_path), tmp_path / "out", TONES, batch_size=3, **options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_huggingface(tmp_path_factory.mktemp("checkpoint") / "tiny", tiny_weights())


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("noises")
    paths = [folder / f"{seconds}.wav" for seconds in (2, 5, 40)]
    for path in paths:
        samples = np.random.default_rng(len(path.name)).standard_normal(int(path.stem) * SAMPLE_RATE) * 0.1
        soundfile.write(path, samples, SAMPLE_RATE)
    return paths


@pytest.mark.parametrize(
    "options",
    [
        {"word_timestamps": True, "language": "ja", "beam_size": 1},
        {"beam_size": 2, "best_of": 3, "initial_prompt": "Dear sir", "temperature": (0.0, 0.8)},
    ],
)
def test_rows_of_a_network_are_those_of_the_pipeline(
    tmp_path: Path, tiny: Path, noises: list[Path], options: dict[str, Any]
) -> None:
    fixed = {"model": str(tiny), "vad": False, "batch_size": 4, "max_new_tokens": 20, "quantization": "none"}
    compare(noises, tmp_path / "out", WHISPER, **fixed, **options)


def test_the_same_samples_have_the_same_text_and_words_in_any_form(tiny: Path, noises: list[Path]) -> None:
    samples, _ = soundfile.read(noises[1], dtype="int16")
    with Inference(tiny, vad=False, batch_size=4, max_new_tokens=20, temperature=(0.5, 1.0)) as inference:
        results = [
            inference(audio, return_timestamps="word", language="ja")
            for audio in (
                noises[1],
                noises[1].read_bytes(),
                io.BytesIO(noises[1].read_bytes()),
                (samples, SAMPLE_RATE),
            )
        ]
    assert results[0]["segments"][0]["words"]
    for result in results[1:]:
        assert result["segments"] == results[0]["segments"]


def test_eight_threads_have_the_texts_of_one(tiny: Path, noises: list[Path]) -> None:
    with Inference(tiny, vad=False, batch_size=4, max_new_tokens=20, language="ja") as inference:
        calls: list[tuple[Path, dict[str, Any]]] = [
            (path, given)
            for path in noises
            for given in (
                {"return_timestamps": "word"},
                {"task": "translate"},
                {"initial_prompt": "Dear sir"},
            )
        ]
        alone = [inference(path, **given)["row"] for path, given in calls]
        together: dict[int, Any] = {}

        def run(first: int) -> None:
            for number in range(first, len(calls), 8):
                path, given = calls[number]
                together[number] = inference(path, **given)["row"]

        threads = [threading.Thread(target=run, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [together[number] for number in range(len(calls))] == alone
    assert len({row["text"] for row in alone}) > len(noises)


def body_of(path: Path, seconds: int) -> bytes:
    return write_talk(path, seconds).read_bytes()


def test_a_url_is_fetched_under_guard(tmp_path: Path) -> None:
    body = body_of(tmp_path / "a.wav", 3)
    with (
        serving(lambda handler: send(handler, 200, body)) as server,
        Inference("m", backend=TONES) as inference,
    ):
        with pytest.raises(TranscriptionError) as caught:
            inference(f"{server.url}/a.wav")
        assert (caught.value.kind, server.accepted) == ("forbidden_host", 0)
        result = inference(f"{server.url}/a.wav", allow_private_hosts=True)
        assert result["text"] == expected_text("en", 3)
        assert result["row"]["uri"] == f"{server.url}/a.wav"


@pytest.mark.parametrize("stalls_at", ["start", "body", "trickle"])
def test_cancelling_ends_a_download(stalls_at: str, tmp_path: Path) -> None:
    body, cancelled = body_of(tmp_path / "a.wav", 3), threading.Event()

    def answer(handler: Handler) -> None:
        if stalls_at != "start":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:1000])
        cancelled.set()
        for position in range(1000, 1100):
            server.stall(0.05 if stalls_at == "trickle" else 0.2)
            if stalls_at == "trickle":
                handler.wfile.write(body[position : position + 1])

    with serving(answer) as server, Inference("m", backend=TONES, allow_private_hosts=True) as inference:
        n_open, n_threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        started = monotonic()
        with pytest.raises(CancelledError):
            inference(f"{server.url}/a.wav", cancelled=cancelled)
        assert monotonic() - started < 4  # the server sends for 5 s or longer
        server.closing.set()
        assert len(server.requests) == 1
        deadline = monotonic() + 30
        while threading.active_count() > n_threads and monotonic() < deadline:
            pass  # the server's thread ends
        assert threading.active_count() == n_threads
        assert len(os.listdir("/proc/self/fd")) == n_open


def program(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_measured([*PROGRAM, *map(str, arguments)]).stdout)
    return found


def test_beam_is_never_imported_and_jax_only_with_the_model(tiny: Path, noises: list[Path]) -> None:
    found = program("whole", tiny, noises[0])
    assert found["duration"] == 2
    assert not {"apache_beam", "jax", "transformers", "datasets"} & set(found["imported"])
    assert "jax" in found["in_the_end"]
    assert not [name for name in found["in_the_end"] if name.partition(".")[0] in ("apache_beam", "torch")]
    assert found["import_s"] < 2  # of a core; 0.3 s on two cores


def test_memory_does_not_depend_on_the_length() -> None:
    short, long = program("memory", "20"), program("memory", "120")
    assert long["minutes"] == 120
    assert long["n_segments"] > 5 * short["n_segments"] > 0
    assert long["peak_mb"] < short["peak_mb"] + 50


def test_an_interrupt_ends_the_process() -> None:
    with subprocess.Popen(
        [*PROGRAM, "interrupt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "decoding\n"
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # or its warning fails another test, too
    assert printed.count("decoding") <= 1  # the other of the two calls that run
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode in (1, 130, -signal.SIGINT)


@pytest.mark.weights
def test_the_text_of_speech_is_the_same_with_and_without_words() -> None:
    model = "openai/whisper-base"
    if any(file.locate() is None for file in PACKAGED_MODELS[model].files):
        pytest.skip(f"the package with the weights of {model} is not installed")
    talk = SAMPLES / "en/joined.flac"
    if not talk.exists():
        pytest.skip(f"{talk} is not here")
    with Inference(model, language="en", beam_size=1) as inference:
        plain, timed = inference(talk), inference(talk, return_timestamps="word")
    assert all(boundary["kind"] == "disjoint" for boundary in plain["row"]["boundaries"])
    assert timed["text"] == plain["text"]
    for segment in timed["segments"]:
        words = segment["words"]
        assert segment["start"] <= words[0]["start"] <= words[-1]["end"] <= segment["end"]
        if words[0]["start"] < words[-1]["end"]:
            assert (segment["start"], segment["end"]) == (words[0]["start"], words[-1]["end"])


@pytest.mark.weights
def test_rows_of_real_speech_are_those_of_the_pipeline(tmp_path: Path) -> None:
    compare(real_speech(), tmp_path / "out", WHISPER, **REAL_OPTIONS)
