"""From the probability of speech in each chunk of a recording to the intervals in which somebody speaks.

The rule is that of `get_speech_timestamps` in silero-vad's `utils_vad.py`, but for its limit on the length of
an interval: windows have one of their own. The numbers are not its defaults, for here a word lost costs more
than a noise decoded. They were chosen on 41 minutes of read speech and of short commands in real rooms, as
recorded, quiet and noisy, and on 204 minutes of generated noise, tones and music, where they find no speech.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK

SPEECH_THRESHOLD = 0.3
"""Probability that speech begins with. Of 200 commands made quieter by 40 dB, silero-vad's 0.5 loses 4, this
none; with 0.2, mains hum begins to be speech."""

SILENCE_THRESHOLD = 0.15
"""Probability below which speech ends. In silero-vad too it is 0.15 lower."""

MIN_SILENCE_SAMPLES = 300 * SAMPLE_RATE // 1000
"""How long it must stay there, 300 ms. With silero-vad's 100 ms, 47 of 157 pauses in read speech have their
middle inside a word, as Whisper times words; with 300 ms, 14 of 68."""

MIN_SPEECH_SAMPLES = 250 * SAMPLE_RATE // 1000
"""Anything shorter is no speech: 250 ms, as in silero-vad. With 200 ms the onset of loud hum is."""

PADDING_SAMPLES = 400 * SAMPLE_RATE // 1000
"""Added on both sides, for words begin and end softly: 400 ms, as in faster-whisper. With 200 ms, 2 % of the
words of the clips in seven languages have their middle outside."""


def speech_intervals(probabilities: NDArray[np.float32], n_samples: int) -> tuple[tuple[int, int], ...]:
    """Where somebody speaks, in samples: `(start, stop)` in order, `0 <= start < stop <= n_samples`.

    Intervals do not overlap. Two may touch: then there is a pause between them that is shorter than their
    paddings, and the bound is its middle.

    Args:
        probabilities: of speech, float32[k], one for each `SPEECH_CHUNK` samples; the last may be for fewer.
        n_samples: length of the recording.

    Raises:
        ValueError: as many samples have another number of chunks.
    """
    n_chunks = -(-n_samples // SPEECH_CHUNK)
    if probabilities.shape != (n_chunks,):
        raise ValueError(
            f"{n_samples} samples are {n_chunks} chunks of {SPEECH_CHUNK}, "
            f"but the probabilities are of shape {probabilities.shape}"
        )
    speech = [
        (start * SPEECH_CHUNK, min(stop * SPEECH_CHUNK, n_samples)) for start, stop in _runs(probabilities)
    ]
    return _padded([run for run in speech if run[1] - run[0] >= MIN_SPEECH_SAMPLES], n_samples)


def _runs(probabilities: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Chunks of speech, `(start, stop)`, without the silence that ends them.

    A chunk between the thresholds goes with what was before it, speech or silence.
    """
    start = quiet = None
    for index, probability in enumerate(probabilities.tolist()):
        if probability >= SPEECH_THRESHOLD:
            start = index if start is None else start
            quiet = None
        elif probability < SILENCE_THRESHOLD and start is not None:
            quiet = index if quiet is None else quiet
            if (index + 1 - quiet) * SPEECH_CHUNK >= MIN_SILENCE_SAMPLES:
                yield start, quiet
                start = quiet = None
    if start is not None:
        yield start, len(probabilities) if quiet is None else quiet


def _padded(speech: list[tuple[int, int]], n_samples: int) -> tuple[tuple[int, int], ...]:
    """Intervals that reach into the silence around them, but not further than the middle of a pause."""
    if not speech:
        return ()
    starts, stops = [max(0, speech[0][0] - PADDING_SAMPLES)], []
    for (_, stop), (start, _) in itertools.pairwise(speech):
        middle = (stop + start) // 2
        stops.append(min(stop + PADDING_SAMPLES, middle))
        starts.append(max(start - PADDING_SAMPLES, middle))
    stops.append(min(n_samples, speech[-1][1] + PADDING_SAMPLES))
    return tuple(zip(starts, stops, strict=True))
