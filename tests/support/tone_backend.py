"""Generated tones, and a transcriber that recognises the tone of each second."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
from numpy.typing import NDArray

from benchmarks.support.whole_batches import WholeBatch
from model.interface import (
    SAMPLE_RATE,
    SPEECH_CHUNK,
    ModelOptions,
    Request,
    Samples,
    Segment,
    WindowResult,
)
from pipelines.backend import Backend
from pipelines.transcribe import main

FRENCH = 0.8  # amplitude: a tone this loud is French
ENGLISH = 0.2
POISON_HZ = 6_000
LOADED: list[ModelOptions] = []
LANGUAGES_REQUESTED: list[str | None] = []  # the language of each request
REQUESTS: list[Request] = []


class ToneTranscriber:
    """Transcribes a second with the tone of second 17 (`tone`) as `en17` or `fr17`, by its amplitude.

    The score tells how many segments came before the window.
    """

    max_concurrent_calls = 2
    arithmetic = "tones (none, for a test)"
    compile_s = 0.0

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size or 8

    def batch_group(self, request: Request) -> None:
        """All requests may share a batch."""

    def token_ids(self, text: str) -> list[int]:
        """One token for each byte."""
        return list(text.encode())

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """There is nothing to compile."""

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> WholeBatch:
        return WholeBatch(self.transcribe, n_rows or self.batch_size)

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        assert 1 <= len(requests) <= self.batch_size
        LANGUAGES_REQUESTED.extend(request.language for request in requests)
        REQUESTS.extend(requests)
        return [self._recognise(request) for request in requests]

    def _recognise(self, request: Request) -> WindowResult:
        samples, language = request.samples, request.language
        detected = "fr" if np.abs(samples).max() > 0.5 else "en"
        segments = tuple(
            Segment(start, start + SAMPLE_RATE, f" {language or detected}{second_of(second)}")
            for start in range(0, samples.size - SAMPLE_RATE + 1, SAMPLE_RATE)
            if (second := samples[start : start + SAMPLE_RATE]).any()
        )
        probs = {} if language else {detected: 0.9, "de": 0.1}
        avg_logprob = -0.5 - len(request.previous) / 1000
        return WindowResult(
            segments, language or detected, probs, avg_logprob=avg_logprob, compression_ratio=1.0
        )


def second_of(samples: Samples) -> int:
    peak_hz = int(np.abs(np.fft.rfft(samples)).argmax())
    if peak_hz == POISON_HZ:
        raise RuntimeError("the model choked")
    return (peak_hz - 200) // 20


def tone(second: int, amplitude: float = ENGLISH) -> Samples:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * (200 + 20 * second) * times)).astype(np.float32)


def write_talk(path: Path, seconds: int, french_from: int | None = None, poison: int | None = None) -> Path:
    tones = [
        tone(second, FRENCH if french_from is not None and second >= french_from else ENGLISH)
        for second in range(seconds)
    ]
    if poison is not None:
        tones[poison] = tone((POISON_HZ - 200) // 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(tones), SAMPLE_RATE)
    return path


def write_sparse(path: Path, *stretches: tuple[int, int]) -> Path:
    """Writes two minutes of digital silence with tones in these (start, stop) seconds."""
    samples = np.zeros(120 * SAMPLE_RATE, np.float32)
    for start, stop in stretches:
        for second in range(start, stop):
            samples[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE] = tone(second)
    soundfile.write(path, samples, SAMPLE_RATE)
    return path


def load_tones(options: ModelOptions) -> ToneTranscriber:
    LOADED.append(options)
    return ToneTranscriber(options.batch_size)


def languages_of(model: str) -> tuple[str, ...]:
    if model == "nobody/knows":
        raise ValueError(f"no model {model!r}")
    return ("en",) if model.endswith(".en") else ("en", "fr", "de")


class ToneDetector:
    """Classifies every chunk that is not digital silence as speech."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.float32)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        buffered = np.concatenate([self._rest, samples])
        whole = len(buffered) // SPEECH_CHUNK * SPEECH_CHUNK
        self._rest = buffered[whole:]
        return buffered[:whole].reshape(-1, SPEECH_CHUNK).any(axis=1).astype(np.float32)

    def finish(self) -> NDArray[np.float32]:
        return np.array([self._rest.any()] if len(self._rest) else [], np.float32)


TONES = Backend(load_tones, languages_of, ToneDetector)


def run(source: Path | str, out: Path | str, *flags: str) -> int:
    return main(["--input", str(source), "--output", str(out), *flags], TONES)


def rows(out: Path) -> list[dict[str, Any]]:
    lines = [
        json.loads(line)
        for path in sorted((out / "jsonl").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    tables = [pq.read_table(path).to_pylist() for path in sorted((out / "parquet").glob("*.parquet"))]
    assert not tables or lines == [row for table in tables for row in table]
    return lines


def failures(out: Path) -> list[dict[str, Any]]:
    content = (out / "failures/part-00000-of-00001.jsonl").read_text("utf-8")
    return [json.loads(line) for line in content.splitlines()]


def snapshot(out: Path) -> dict[str, bytes]:
    """Returns the files of a run by name, without its lock and its log, which differ between runs."""
    paths = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not name.endswith((".log", "/lock"))}


def expected_text(language: str, seconds: int) -> str:
    return " ".join(f"{language}{second}" for second in range(seconds))
