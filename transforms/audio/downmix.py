"""Converts decoded samples of any format and number of channels to one channel of finite float32."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from model.interface import Samples

DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""NumPy's types of FFmpeg's sample formats; planar formats have a `p` appended to their names."""

MAX_AMPLITUDE = 1e6
"""Larger samples are invalid. Full scale is 1; far above it the power spectrum overflows float32."""

MIN_ENERGY_RATIO = 0.25
"""Channels cancel each other if their mean has less than this fraction of the energy that the mean of
uncorrelated channels would have: two channels, if their correlation is below -0.75."""


class Mono(NamedTuple):
    """One channel.

    Attributes:
        samples: float32[n], finite, full scale 1.
        n_invalid: samples for which a decoded channel was invalid (NaN, infinite, or beyond `MAX_AMPLITUDE`)
            and replaced by silence.
        has_valid: whether any sample of the channel exists and is valid.
        is_cancelled: the channels would have cancelled each other, and this is the loudest of them.
    """

    samples: Samples
    n_invalid: int = 0
    has_valid: bool = True
    is_cancelled: bool = False


def values_of(frame: AudioFrame) -> NDArray[Any]:
    """Returns the samples of a frame, [channels, n], in FFmpeg's format: integers or floats.

    PyAV's `to_ndarray` counts planes up to a null pointer, which an array of eight planes does not have: with
    7.1 audio it reads arbitrary memory, or crashes. It does not support 64-bit integers either.
    """
    channels, is_planar = frame.layout.nb_channels, frame.format.is_planar
    dtype = DTYPES[frame.format.name.removesuffix("p")]
    n_values = frame.samples if is_planar else frame.samples * channels
    planes = [AudioPlane(frame, index) for index in range(channels if is_planar else 1)]
    values = np.stack([np.frombuffer(bytes(plane), dtype, n_values) for plane in planes])
    return values if is_planar else values.reshape(-1, channels).T


def to_mono(values: NDArray[Any], channel: int | None) -> Mono:
    """Returns one channel, or the mean of all.

    Args:
        values: [channels, n], unsigned 8-bit, signed integers or floats.
        channel: counted from 0; silent if it does not exist. None for the mean, or, where channels cancel
            each other (as with the polarity of one microphone inverted), for the loudest of them.
    """
    if channel is not None:
        if channel >= len(values):
            return Mono(np.zeros(values.shape[1], np.float32), has_valid=False)
        values = values[channel : channel + 1]
    scaled = _full_scale(values)
    n_invalid, has_valid = 0, scaled.size > 0
    if values.dtype.kind == "f":
        valid = np.abs(scaled) <= MAX_AMPLITUDE  # False for NaN
        if not valid.all():
            n_invalid, has_valid = int((~valid.all(axis=0)).sum()), bool(valid.any())
            scaled[~valid] = 0
    if len(scaled) == 1:
        return Mono(scaled[0], n_invalid, has_valid)
    mean = scaled.mean(axis=0, dtype=np.float32)
    energies = np.einsum("cn,cn->c", scaled, scaled)
    if np.dot(mean, mean) < MIN_ENERGY_RATIO * energies.mean() / len(scaled):
        return Mono(scaled[energies.argmax()], n_invalid, has_valid, is_cancelled=True)
    return Mono(mean, n_invalid, has_valid)


def _full_scale(values: NDArray[Any]) -> NDArray[np.float32]:
    """Returns a copy as float32, with full scale 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite
        scaled = values.astype(np.float32)
    if values.dtype.kind == "u":
        scaled -= np.float32(128)
    if values.dtype.kind in "iu":
        scaled *= np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
    return scaled
