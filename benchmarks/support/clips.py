"""Audio for the benchmarks, read without this project's code, so that it is the same for every system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000


def read_clip(path: Path) -> NDArray[np.float32]:
    """Reads a whole recording, mono at 16 kHz, float32[n]."""
    audio, rate = sf.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(audio.mean(axis=1), rate, SAMPLE_RATE), np.float32)
