"""`WhisperTranscriber` compared with ctranslate2 and transformers, with the real weights."""

import json
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from benchmarks.parity import Reference, text_ids
from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from model.checkpoint import Checkpoint
from tests.support.transcribers import load, noise, requests_of, speech

DATA = Path("../shared/data")


@pytest.mark.weights
def test_encoder_scores_and_ids_are_those_of_ctranslate2(packaged: Callable[[str], Checkpoint]) -> None:
    checkpoint = packaged("openai/whisper-tiny.en")
    ours = load("openai/whisper-tiny.en")
    samples = speech(DATA / "english/jfk.flac") if DATA.exists() else noise(11)
    (result,) = ours.transcribe(requests_of([samples], ["en"], full_window=True))
    with ctranslate2_folder(checkpoint) as folder:
        theirs = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
        reference = Reference(theirs, checkpoint, ours, samples, "en")
    error = np.linalg.norm(ours.encode([samples])[0] - reference.encoded)
    assert error / np.linalg.norm(reference.encoded) < 1e-3
    assert text_ids(result) == reference.ids
    assert result.avg_logprob == pytest.approx(reference.avg_logprob, abs=2e-3)
    assert result.no_speech_prob == pytest.approx(reference.no_speech_prob, abs=1e-3)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_ids_are_those_of_transformers(packaged: Callable[[str], Checkpoint], name: str) -> None:
    reference_file = DATA / "reference" / f"transformers-whisper-{name}-float32-ids.json"
    if not reference_file.exists():
        pytest.skip(f"{reference_file} is not here")
    packaged(f"openai/whisper-{name}")
    reference = json.loads(reference_file.read_text())["ids"]
    files = list(reference)[:4]
    model = load(f"openai/whisper-{name}", batch_size=4)
    windows = [speech(DATA / file) for file in files]
    for kind, timestamps in (("timestamps", True), ("plain", False)):
        results = model.transcribe(requests_of(windows, ["en"] * 4, timestamps=timestamps, full_window=True))
        for file, result in zip(files, results, strict=True):
            text_ids = [i for i in reference[file][kind] if i < 50_256]
            assert [i for s in result.segments for i in s.tokens] == text_ids, file


@pytest.mark.weights
@pytest.mark.parametrize("searches", [False, True])
def test_float16_writes_the_ids_of_float32(packaged: Callable[[str], Checkpoint], searches: bool) -> None:
    """The dtype of GPUs, here on a CPU: nothing overflows in the real network, and ids are the same."""
    if not DATA.exists():
        pytest.skip(f"{DATA} is not here")
    packaged("openai/whisper-base")
    windows = [speech(file) for file in sorted((DATA / "english").glob("*.flac"))[:4]]
    found = {}
    for dtype in ("float32", "float16"):
        model = load("openai/whisper-base", dtype=dtype, batch_size=4, beam_size=5 if searches else 1)
        found[dtype] = model.transcribe(requests_of(windows, ["en"] * 4))
    for exact, rounded in zip(found["float32"], found["float16"], strict=True):
        assert [s.tokens for s in rounded.segments] == [s.tokens for s in exact.segments]
        assert exact.segments
        assert rounded.avg_logprob == pytest.approx(exact.avg_logprob, abs=5e-3)
        assert rounded.no_speech_prob == pytest.approx(exact.no_speech_prob, rel=0.05)
