"""`WhisperTranscriber.warm_up`: afterwards no request waits for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, ModelOptions, Request
from model.transcriber import WhisperTranscriber, load_transcriber
from tests.support.tiny_model import save_huggingface, tiny_weights

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


@pytest.fixture(scope="module", params=[1, 2], ids=["greedy", "beams"])
def transcriber(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> WhisperTranscriber:
    """A model that has compiled nothing yet, and of which nothing is kept."""
    folder: Path = save_huggingface(tmp_path_factory.mktemp("checkpoint") / "tiny", tiny_weights())
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WHISPER_BEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        options = ModelOptions(
            model=str(folder), batch_size=4, beam_size=request.param, max_new_tokens=8, quantization="none"
        )
        return load_transcriber(options)


def noise(seconds: float, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE)) * 0.1
    return samples.astype(np.float32)


def test_after_a_warm_up_nothing_is_compiled(transcriber: WhisperTranscriber) -> None:
    transcriber.warm_up(prompts=False)
    for options in OPTIONS:
        transcriber.transcribe([Request(noise(2), **options)])
    transcriber.transcribe([Request(noise(seconds, seconds)) for seconds in (1, 5, 9, 30)])
    assert transcriber.compile_s == 0

    transcriber.transcribe([Request(noise(2), prompt=PROMPTS[0])])  # else the test could not fail
    assert transcriber.compile_s > 0


def test_a_warm_up_for_prompts_compiles_those_of_each_length(transcriber: WhisperTranscriber) -> None:
    transcriber.warm_up()
    waited_s = transcriber.compile_s
    for prompt in PROMPTS:
        for options in OPTIONS:
            transcriber.transcribe([Request(noise(2), prompt=prompt, **options)])
        transcriber.transcribe([Request(noise(2), hotwords=prompt), Request(noise(3))])
    assert transcriber.compile_s == waited_s
    groups = {transcriber.batch_group(Request(noise(1), prompt=prompt)) for prompt in ("", *PROMPTS)}
    assert len(groups) == 4


def test_a_warm_up_changes_no_result(transcriber: WhisperTranscriber) -> None:
    requests = [Request(noise(5, seed), "ja", word_timestamps=True) for seed in range(3)]
    before = transcriber.transcribe(requests)
    transcriber.warm_up()
    assert transcriber.transcribe(requests) == before
