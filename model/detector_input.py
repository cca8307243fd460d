"""Prepares audio for voice activity detection: a high-pass filter, and a gain for quiet recordings.

The detector was trained on speech of ordinary level. It finds none that is 60 dB quieter, behind the offset
of a microphone, or over the hum of the mains. The model itself gets the audio as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK

BLOCK = 64
"""Chunks that are processed together. A chunk's row in its block is its number modulo this, so that its
result is the same to the bit however the stream is divided: matrix products of other shapes round
differently.
"""

CUTOFF_HZ = 100
"""Of a Butterworth filter of order 4: offsets are gone, and 50 Hz is 24 dB weaker. At order 2, hum that is
louder than the speech still hides it."""
_ORDER = 4
_STEP = 64  # samples whose filtered values are one matrix product

TARGET_LEVEL = 10 ** (-35 / 20)
"""Root mean square of loud chunks, of full scale, to which quieter recordings are amplified: -35 dB. That of
ordinary speech is about -20 dB, and it is not changed."""
QUIET_LEVEL = 10 ** (-45 / 20)
"""Below this level, recordings are amplified. So in ordinary ones nothing changes."""
FIRST_GAIN_CHUNK = 31
"""Chunks, 1 s, before which nothing is amplified: the silence before ordinary speech is as quiet."""
MAX_GAIN = 10 ** (40 / 20)
"""The rounding of 16 bits, at -98 dB, stays quieter than any speech."""
LEVEL_CHUNKS = 160
"""Chunks, 5.1 s, that the level is taken from: pauses within speech do not change it."""
LOUD_CHUNKS = 5
"""Chunks, 160 ms, that must be louder for a level to count: a click is shorter."""

Floats = NDArray[np.float32]


class DetectorInput:
    """The filter and the gain of one stream."""

    def __init__(self) -> None:
        self._filter = _filter()
        self._states = 0j, 0j  # of the two poles
        self._n_chunks = 0
        self._levels: Floats = np.zeros(LEVEL_CHUNKS - 1, np.float32)

    def __call__(self, chunks: Floats, rows: slice) -> tuple[Floats, Floats]:
        """Returns the next chunks, float32[n, 512], and the gain of each, float32[n].

        A chunk is filtered if more is removed from it than is loud of the rest. A gain depends on the chunk and on those before it.

        Args:
            chunks: float32[n, 512].
            rows: their rows in a block, n of `BLOCK`.
        """
        block = np.zeros((BLOCK, SPEECH_CHUNK), np.float32)
        block[rows] = chunks
        filtered = self._filtered(block, rows)
        levels = np.sqrt(np.mean(np.square(filtered), axis=1))[rows]
        recent = np.concatenate((self._levels, levels))
        self._levels = recent[len(levels) :]
        nth = LEVEL_CHUNKS - LOUD_CHUNKS
        loud = np.partition(sliding_window_view(recent, LEVEL_CHUNKS), nth, axis=1)[:, nth]
        level = np.maximum(np.maximum(loud, levels), np.float32(TARGET_LEVEL / MAX_GAIN))
        numbers = self._n_chunks + np.arange(len(chunks))
        self._n_chunks += len(chunks)
        is_quiet = (level < np.float32(QUIET_LEVEL)) & (numbers >= FIRST_GAIN_CHUNK)
        removed = np.sqrt(np.mean(np.square(block - filtered), axis=1))[rows]
        prepared = np.where((removed > level)[:, None], filtered[rows], chunks)
        return prepared, np.where(is_quiet, np.float32(TARGET_LEVEL) / level, np.float32(1))

    def _filtered(self, block: Floats, rows: slice) -> Floats:
        """Filters float32[64, 512], of which only `rows` belong to the stream."""
        per_chunk = SPEECH_CHUNK // _STEP
        products = block.reshape(-1, BLOCK, _STEP) @ self._filter.from_samples
        products = products.reshape(-1, products.shape[-1])
        inputs = products[:, _STEP:].astype(np.float64).view(np.complex128)
        states = np.zeros_like(inputs)
        steps = slice(rows.start * per_chunk, rows.stop * per_chunk)
        states[steps] = self._carried(inputs[steps].tolist())
        from_states = states.view(np.float64).astype(np.float32) @ self._filter.from_states
        filtered: Floats = (products[:, :_STEP] + from_states).reshape(block.shape)
        return filtered

    def _carried(self, inputs: list[list[complex]]) -> list[tuple[complex, complex]]:
        """Returns the states before each step, from what the steps add to them."""
        first_pole, second_pole = self._filter.step_poles
        first, second = self._states
        states = []
        for more_of_first, more_of_second in inputs:
            states.append((first, second))
            first = first_pole * first + more_of_first
            second = second_pole * second + more_of_second
        self._states = first, second
        return states


@dataclass(frozen=True)
class _Filter:
    """A recursive filter as matrix products over steps of `_STEP` samples.

    The transfer function is a constant and a sum of `r / (1 - p / z)` over its poles `p`; of each pair of
    conjugates one is kept. The state of a pole is the sum of `p**k` times the sample `k` before the last one.

    Attributes:
        step_poles: the two poles, each to the power of `_STEP`.
        from_samples: float32[64, 68], from the samples of a step to their filtered values without those
            before, and to what they add to the states, as pairs of real and imaginary parts.
        from_states: float32[4, 64], from the states before a step to what they add to its values.
    """

    step_poles: tuple[complex, complex]
    from_samples: Floats
    from_states: Floats


@functools.cache
def _filter() -> _Filter:
    """Designs the high-pass by the bilinear transform of a Butterworth filter."""
    prototype = np.exp(1j * np.pi * (2 * np.arange(1, _ORDER + 1) + _ORDER - 1) / (2 * _ORDER))
    analog = np.tan(np.pi * CUTOFF_HZ / SAMPLE_RATE) / prototype
    poles = (1 + analog) / (1 - analog)
    gain = np.prod(np.abs(1 + poles)) / 2**_ORDER  # 1 at half the sampling rate
    residues = [
        gain * (1 - 1 / pole) ** _ORDER / np.prod(1 - np.delete(poles, n) / pole)
        for n, pole in enumerate(poles)
    ]
    kept = np.flatnonzero(poles.imag > 0)
    poles, weights = poles[kept], 2 * np.array(residues)[kept]
    times = np.arange(_STEP)
    response = (weights[:, None] * poles[:, None] ** times).real.sum(axis=0)
    response[0] = gain
    lags = times[None, :] - times[:, None]
    values = np.where(lags >= 0, response[lags], 0)
    added = (poles ** (_STEP - 1 - times)[:, None]).view(np.float64)
    carried = weights[:, None] * poles[:, None] ** (times + 1)
    from_states = np.stack((carried.real, -carried.imag), axis=1).reshape(-1, _STEP)
    first, second = poles**_STEP
    return _Filter(
        (complex(first), complex(second)),
        np.concatenate((values, added), axis=1).astype(np.float32),
        from_states.astype(np.float32),
    )
