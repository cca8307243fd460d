"""Transcribers, and what they transcribe, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from model.interface import WINDOW_SAMPLES, ModelOptions, Request
from model.transcriber import WhisperTranscriber, load_transcriber


def load(folder: Path | str, **changed: Any) -> WhisperTranscriber:  # noqa: ANN401  # of any option's type
    """A greedy model for batches of two windows."""
    defaults = {"batch_size": 2, "quantization": "none", "beam_size": 1}
    return load_transcriber(ModelOptions(model=str(folder), **{**defaults, **changed}))


def requests_of(
    windows: Sequence[NDArray[np.float32]],
    languages: Sequence[str | None],
    **options: Any,  # noqa: ANN401  # of any option's type
) -> list[Request]:
    return [
        Request(samples, language, **options) for samples, language in zip(windows, languages, strict=True)
    ]


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * 16_000)) * 0.1
    return samples.astype(np.float32)


def speech(path: Path) -> NDArray[np.float32]:
    audio, rate = sf.read(path, dtype="float32", always_2d=True)
    samples = soxr.resample(audio.mean(axis=1), rate, 16_000)[:WINDOW_SAMPLES]
    return np.asarray(samples, np.float32)
