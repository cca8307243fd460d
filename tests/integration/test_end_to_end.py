"""End-to-end runs with real models: a random one-layer Whisper, and the packaged weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr

from model.checkpoint import PACKAGED_MODELS
from model.interface import SAMPLE_RATE
from pipelines.options import TranscribeOptions
from pipelines.run import transcribe
from pipelines.transcribe import main
from tests.support.tiny_model import save_huggingface, tiny_weights

DATA = Path("../shared/data")


def rows_of(output: Path) -> list[dict[str, Any]]:
    parts = sorted((output / "jsonl").glob("*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name, seconds in (("short", 2), ("long", 40)):
        noise = np.random.default_rng(seconds).standard_normal(seconds * SAMPLE_RATE) * 0.1
        sf.write(folder / f"{name}.wav", noise, SAMPLE_RATE)
    return folder


def test_random_whisper_transcribes_a_folder(tmp_path: Path, talks: Path) -> None:
    model = str(save_huggingface(tmp_path / "tiny", tiny_weights()))
    outputs = [tmp_path / "one", tmp_path / "four"]
    for output, batch_size in zip(outputs, ("1", "4"), strict=True):
        arguments = ["--input", str(talks), "--output", str(output), "--model", model]
        assert main([*arguments, "--batch_size", batch_size, "--language", "German"]) == 0
    rows = rows_of(outputs[0])
    assert [(Path(row["uri"]).name, row["language"], row["model"]) for row in rows] == sorted(
        [("short.wav", "de", model), ("long.wav", "de", model)],
        key=lambda row: [r["uri"].endswith(row[0]) for r in rows].index(True),
    )
    assert {row["duration_s"] for row in rows} == {2.0, 40.0}
    assert [row["text"] for row in rows] == [row["text"] for row in rows_of(outputs[1])]


def test_python_api_equals_the_command_line(tmp_path: Path, talks: Path) -> None:
    model = str(save_huggingface(tmp_path / "tiny", tiny_weights()))
    options = TranscribeOptions(
        input=(str(talks / "short.wav"),), output=str(tmp_path / "out"), model=model, batch_size=1
    )
    assert transcribe(options) == 0
    assert len(rows_of(tmp_path / "out")) == 1


@pytest.mark.weights
def test_real_speech_of_over_a_minute_is_transcribed(tmp_path: Path) -> None:
    model = "openai/whisper-tiny.en"
    if not DATA.exists() or any(file.locate() is None for file in PACKAGED_MODELS[model].files):
        pytest.skip("needs ../shared/data and the packaged weights")
    clips = [DATA / f"english/LJ001-00{number:02}.flac" for number in range(1, 11)]
    stretches = []
    for clip in clips:
        audio, rate = sf.read(clip, dtype="float32")
        stretches.append(soxr.resample(audio, rate, SAMPLE_RATE))
    sf.write(tmp_path / "talk.flac", np.concatenate(stretches), SAMPLE_RATE)
    arguments = ["--input", str(tmp_path / "talk.flac"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--model", model, "--batch_size", "4"]) == 0
    (row,) = rows_of(tmp_path / "out")
    assert row["duration_s"] > 60
    assert row["language"] == "en"
    for phrase in (
        "most if not from all the arts and crafts",
        "produced the block",
        "invention of movable metal letters",
        "has never been surpassed",
        "the art of making books by means of movable types",
    ):
        assert row["text"].lower().count(phrase) == 1, phrase
    times = [time for segment in row["segments"] for time in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert times[-1] <= row["duration_s"]
