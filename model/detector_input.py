"""Prepares audio for voice activity detection: a high-pass filter, and a gain for quiet recordings.

The detector was trained on speech of ordinary level. It finds none that is 60 dB quieter, behind the offset
of a microphone, or over the hum of the mains. Ordinary recordings are left as they are: each change of their
samples moves a bound here and there, and with it a word. The model itself gets the audio as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, SPEECH_DELAY

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

MIN_REMOVED = 0.25
"""Energy below the cutoff, as a share of that of loud chunks above it, from which on a chunk is filtered. In
40 English clips, two long recordings and clips of seven languages no chunk is, but in near silence."""

TARGET_LEVEL = 10 ** (-35 / 20)
"""Root mean square of loud chunks, of full scale, to which quiet recordings are amplified: -35 dB. That of
ordinary speech is about -20 dB."""
QUIET_LEVEL = 10 ** (-45 / 20)
"""Below this level, recordings are amplified."""
MAX_GAIN = 10 ** (40 / 20)
"""The rounding of 16 bits, at -98 dB, stays quieter than any speech."""
LEVEL_CHUNKS = 160
"""Chunks, 5.1 s, that the level is taken from: pauses within speech do not change it."""
LOOKAHEAD_CHUNKS = SPEECH_DELAY // SPEECH_CHUNK
"""Chunks, 2 s, behind a chunk that its level is taken from, too: the silence before ordinary speech is not
amplified, and the first words of a quiet recording are."""
LOUD_CHUNKS = 5
"""Chunks, 160 ms, that must be louder for a level to count: a click is shorter."""

Floats = NDArray[np.float32]


class DetectorInput:
    """The filter and the gain of one stream, which see `LOOKAHEAD_CHUNKS` ahead."""

    def __init__(self) -> None:
        self._filter = _filter()
        self._states = 0j, 0j  # of the two poles
        self._n_filtered = 0
        self._levels: Floats = np.zeros(
            LEVEL_CHUNKS - 1, np.float32
        )  # before the waiting chunks, and of them
        self._waiting: Floats = np.empty((0, SPEECH_CHUNK), np.float32)
        self._filtered: Floats = self._waiting
        self._removed: Floats = np.empty(0, np.float32)  # energy that the filter removes from each

    def __call__(self, chunks: Floats) -> tuple[Floats, Floats]:
        """Adds chunks; returns those that are ready, filtered where that removes much, and the gain of each.

        Args:
            chunks: float32[n, 512].

        Returns:
            float32[k, 512] and float32[k], with `LOOKAHEAD_CHUNKS` held back. They do not depend on how the
            stream is divided.
        """
        first = BLOCK - self._n_filtered % BLOCK
        for part in np.split(chunks, range(first, len(chunks), BLOCK)):
            self._add(part)
        return self._ready(len(self._waiting) - LOOKAHEAD_CHUNKS)

    def finish(self) -> tuple[Floats, Floats]:
        """Returns the chunks that are left at the end of the stream, and their gains."""
        self._levels = np.concatenate((self._levels, np.zeros(LOOKAHEAD_CHUNKS, np.float32)))
        return self._ready(len(self._waiting))

    def _add(self, chunks: Floats) -> None:
        """Filters up to `BLOCK` chunks, which lie in one block, and measures them."""
        row = self._n_filtered % BLOCK
        rows = slice(row, row + len(chunks))
        block = np.zeros((BLOCK, SPEECH_CHUNK), np.float32)
        block[rows] = chunks
        filtered = self._high_passed(block, rows)
        energies, kept = (np.mean(np.square(one), axis=1)[rows] for one in (block, filtered))
        self._n_filtered += len(chunks)
        self._levels = np.concatenate((self._levels, np.sqrt(kept)))
        self._waiting = np.concatenate((self._waiting, chunks))
        self._filtered = np.concatenate((self._filtered, filtered[rows]))
        self._removed = np.concatenate((self._removed, energies - kept))

    def _ready(self, n: int) -> tuple[Floats, Floats]:
        """Removes and returns the first `n` waiting chunks, and their gains."""
        if n <= 0:
            return np.empty((0, SPEECH_CHUNK), np.float32), np.empty(0, np.float32)
        width = LEVEL_CHUNKS + LOOKAHEAD_CHUNKS
        around = sliding_window_view(self._levels[: n + width - 1], width)
        loud = np.partition(around, width - LOUD_CHUNKS, axis=1)[:, width - LOUD_CHUNKS]
        own = self._levels[LEVEL_CHUNKS - 1 :][:n]
        level = np.maximum(np.maximum(loud, own), np.float32(TARGET_LEVEL / MAX_GAIN))
        is_filtered = self._removed[:n] > np.float32(MIN_REMOVED) * np.square(level)
        chunks = np.where(is_filtered[:, None], self._filtered[:n], self._waiting[:n])
        gains = np.where(level < np.float32(QUIET_LEVEL), np.float32(TARGET_LEVEL) / level, np.float32(1))
        self._levels, self._removed = self._levels[n:], self._removed[n:]
        self._waiting, self._filtered = self._waiting[n:], self._filtered[n:]
        return chunks, gains

    def _high_passed(self, block: Floats, rows: slice) -> Floats:
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
