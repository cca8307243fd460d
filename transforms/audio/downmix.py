"""Converts decoded samples of any format, number and layout of channels to one channel of finite float32."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from model.interface import Samples

DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""NumPy's types of FFmpeg's sample formats; planar formats have a `p` appended to their names."""

MAX_AMPLITUDE = 1e6
"""Larger samples are invalid. Full scale is 1; far above it the power spectrum overflows float32."""

MIN_ENERGY_RATIO = 0.25
"""Channels cancel each other if their mix has less than this fraction of the energy that the mix of
uncorrelated channels would have: two channels, if their correlation is below -0.75."""

MIX_LEVELS = {
    "FC": 1.0,
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "TFL", "TFR"), 0.5**0.5),
    **dict.fromkeys(("BL", "BR", "BC", "SL", "SR", "WL", "WR"), 0.5),
    **dict.fromkeys(("TC", "TFC", "TBL", "TBC", "TBR", "TSL", "TSR", "BFC", "BFL", "BFR"), 0.5),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
"""Levels in a mono mix, by FFmpeg's names of channels: the centre is 3 dB above the fronts, and these are
3 dB above the surrounds (ITU-R BS.775-3, table 2, 1/0; FFmpeg, libswresample/rematrix.c, `auto_matrix`). Wide
and further upper channels, which FFmpeg leaves out, are mixed as surrounds."""

MixWeights = tuple[float, ...]
"""The weight of each channel in the mix; they add up to 1."""


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


@lru_cache(maxsize=64)
def mix_weights(layout: str) -> MixWeights | None:
    """Returns the weights of the channels of a layout, by FFmpeg's name of it; None for their plain mean.

    The mean is that of one or two channels, and of channels whose places are unknown: `6 channels`. Levels
    are divided by their sum, as libswresample does for integers, so that the mix does not exceed full scale.

    >>> [round(weight, 3) for weight in mix_weights("3.1")]  # left, right, centre, low frequencies
    [0.293, 0.293, 0.414, 0.0]
    """
    try:
        names = [channel.name for channel in AudioLayout(layout).channels]
    except ValueError:  # a custom layout, whose name is cut off
        return None
    if len(names) <= 2 or len(set(names)) < len(names) or not MIX_LEVELS.keys() >= set(names):
        return None
    levels = [MIX_LEVELS[name] for name in names]
    return tuple(level / sum(levels) for level in levels)


def to_mono(values: NDArray[Any], channel: int | None, weights: MixWeights | None = None) -> Mono:
    """Returns one channel, or a mix of all.

    Args:
        values: [channels, n], unsigned 8-bit, signed integers or floats.
        channel: counted from 0; silent if it does not exist. None for the mix, or, where channels cancel each
            other (as with the polarity of one microphone inverted), for the loudest of them.
        weights: of each channel in the mix, see `mix_weights`; None for the mean.
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
    return _mixed(scaled, weights)._replace(n_invalid=n_invalid, has_valid=has_valid)


def _mixed(scaled: NDArray[np.float32], weights: MixWeights | None) -> Mono:
    """Returns the mix, or the loudest channel where they cancel each other."""
    energies = np.einsum("cn,cn->c", scaled, scaled)
    if weights is None:
        mix = scaled.mean(axis=0, dtype=np.float32)
        uncorrelated = energies.mean() / len(scaled)
    else:
        mix = np.zeros(scaled.shape[1], np.float32)
        for weight, samples in zip(weights, scaled, strict=True):
            mix += np.float32(weight) * samples
        energies = energies * np.square(weights)
        uncorrelated = energies.sum()
    if np.dot(mix, mix) < MIN_ENERGY_RATIO * uncorrelated:
        return Mono(scaled[energies.argmax()], is_cancelled=True)
    return Mono(mix)


def _full_scale(values: NDArray[Any]) -> NDArray[np.float32]:
    """Returns a copy as float32, with full scale 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite
        scaled = values.astype(np.float32)
    if values.dtype.kind == "u":
        scaled -= np.float32(128)
    if values.dtype.kind in "iu":
        scaled *= np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
    return scaled
