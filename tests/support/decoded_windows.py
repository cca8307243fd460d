"""Windows of noise with pauses, and results of a model for them."""

from __future__ import annotations

import numpy as np

from model.interface import SAMPLE_RATE, Samples, Segment, WindowResult
from transforms.core.types import Window

SPEECH, NOISE = 0.1, 0.001  # amplitudes


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise, given as (seconds, amplitude) stretches."""
    random = np.random.default_rng(0)
    noise = [random.standard_normal(int(s * SAMPLE_RATE)) * amplitude for s, amplitude in stretches]
    return np.concatenate(noise).astype(np.float32)


TALK = sound((10, SPEECH), (2, NOISE), (10, SPEECH), (2, NOISE), (6, SPEECH))


def window(samples: Samples = TALK, unshared_s: float | None = None) -> Window:
    n_unshared = samples.size if unshared_s is None else int(unshared_s * SAMPLE_RATE)
    return Window("id", 3, ((1_200_000, 1_200_000 + samples.size),), samples, n_unshared, None)


def result_until(stop_s: float, **scores: float) -> WindowResult:
    """A result with one segment, from the start of the window to `stop_s`."""
    segments = (Segment(0, int(stop_s * SAMPLE_RATE), " text"),)
    return WindowResult(segments, "en", **scores)  # type: ignore[arg-type]
