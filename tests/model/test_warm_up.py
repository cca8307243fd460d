"""`WhisperTranscriber.warm_up`: afterwards no request waits for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, ModelOptions, Request
from model.transcriber import WhisperTranscriber, load_transcriber

PROMPTS = ("a", "a" * 30, "a" * 1000)  # for each number of slots, as a byte is a token
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"language": "de"},
    {"task": "translate"},
    {"timestamps": False},
    {"temperature": 0.5, "seed": 3},
    {"temperature": 0.5, "seed": 3, "timestamps": False},
    {"word_timestamps": True, "language": "ja"},
    {"word_timestamps": True, "language": "ja", "timestamps": False, "temperature": 1.0, "seed": 19},
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that earlier tests compiled are not found."""
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tmp_path / "cache"))


def load(folder: Path, beam_size: int) -> WhisperTranscriber:
    options = {"batch_size": 4, "max_new_tokens": 8, "quantization": "none"}
    return load_transcriber(ModelOptions(model=str(folder), beam_size=beam_size, **options))  # type: ignore[arg-type]


def noise(seconds: float, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE)) * 0.1
    return samples.astype(np.float32)


@pytest.mark.usefixtures("empty_cache")
def test_after_a_warm_up_nothing_is_compiled(tiny_folder: Path) -> None:
    transcriber = load(tiny_folder, beam_size=1)
    requests = [Request(noise(5, seed), "ja", word_timestamps=True) for seed in range(3)]
    transcriber.warm_up(prompts=False, timestamps=(True,))
    results = transcriber.transcribe(requests)
    for timestamps in (True, False):
        for options in OPTIONS:
            if options.get("timestamps", True) is timestamps:
                transcriber.transcribe([Request(noise(2), **options)])
        assert transcriber.compile_s == 0
        transcriber.warm_up(prompts=False, timestamps=(False,))

    transcriber.transcribe([Request(noise(2), prompt=PROMPTS[0])])  # without it the test could not fail
    assert transcriber.compile_s > 0
    assert transcriber.transcribe(requests) == results


@pytest.mark.usefixtures("empty_cache")
def test_a_warm_up_for_prompts_compiles_the_programs_of_each_length(tiny_folder: Path) -> None:
    """Those of the beam search, and of sampling for the fallback."""
    transcriber = load(tiny_folder, beam_size=2)
    transcriber.warm_up(timestamps=(True,))
    for prompt in ("", *PROMPTS):
        for options in OPTIONS:
            if options.get("timestamps", True):
                transcriber.transcribe([Request(noise(2), prompt=prompt, **options)])
        transcriber.transcribe([Request(noise(2), hotwords=prompt), Request(noise(3))])
    assert transcriber.compile_s == 0
    groups = {transcriber.batch_group(Request(noise(1), prompt=prompt)) for prompt in ("", *PROMPTS)}
    assert len(groups) == 4
