"""Decoded samples of any format and any channels into one channel of finite float32."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from model.interface import Samples

DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""Of FFmpeg's sample formats; those whose channels are apart have a `p` behind their names."""

MAX_AMPLITUDE = 1e6
"""Full scale is 1; far above this the power spectrum leaves float32, and no recorder writes it."""

CANCELLED = 0.25
"""Channels cancel each other when their mean has less than this part of the energy that it would have of
channels that have nothing to do with each other: of two, when they correlate by less than -0.75."""


class Mono(NamedTuple):
    """One channel.

    Attributes:
        samples: float32[n], finite, full scale 1.
        n_bad: in how many moments a channel that was listened to held no sample of sound, and silence was
            taken for it: NaN, infinite, or beyond `MAX_AMPLITUDE`.
        is_heard: whether any sample is a real one.
        is_cancelled: the channels would have cancelled each other, and this is the loudest of them.
    """

    samples: Samples
    n_bad: int = 0
    is_heard: bool = True
    is_cancelled: bool = False


def values_of(frame: AudioFrame) -> NDArray[Any]:
    """The samples of a frame, [channels, n], as FFmpeg has them: integers or floats.

    PyAV's own `to_ndarray` looks for planes until it finds none, and behind eight of them there is no end:
    sound in 7.1 makes it read, or crash, at any address. Nor does it know integers of 64 bits.
    """
    channels, is_planar = frame.layout.nb_channels, frame.format.is_planar
    dtype = DTYPES[frame.format.name.removesuffix("p")]
    n_values = frame.samples if is_planar else frame.samples * channels
    planes = [AudioPlane(frame, index) for index in range(channels if is_planar else 1)]
    values = np.stack([np.frombuffer(bytes(plane), dtype, n_values) for plane in planes])
    return values if is_planar else values.reshape(-1, channels).T


def to_mono(values: NDArray[Any], channel: int | None) -> Mono:
    """One channel, or the mean of all.

    Args:
        values: [channels, n], unsigned 8-bit, signed integers or floats.
        channel: counted from 0; one that is not there is silent. None for the mean, or where channels cancel
            each other, as with one microphone's poles swapped, for the loudest of them.
    """
    if channel is not None:
        if channel >= len(values):
            return Mono(np.zeros(values.shape[1], np.float32), is_heard=False)
        values = values[channel : channel + 1]
    sound = _full_scale(values)
    n_bad, is_heard = 0, sound.size > 0
    if values.dtype.kind == "f":
        good = np.abs(sound) <= MAX_AMPLITUDE  # so that NaN is not
        if not good.all():
            n_bad, is_heard = int((~good.all(axis=0)).sum()), bool(good.any())
            sound[~good] = 0
    if len(sound) == 1:
        return Mono(sound[0], n_bad, is_heard)
    mean = sound.mean(axis=0, dtype=np.float32)
    energies = np.einsum("cn,cn->c", sound, sound)
    if np.dot(mean, mean) < CANCELLED * energies.mean() / len(sound):
        return Mono(sound[energies.argmax()], n_bad, is_heard, is_cancelled=True)
    return Mono(mean, n_bad, is_heard)


def _full_scale(values: NDArray[Any]) -> NDArray[np.float32]:
    """A copy as float32, with full scale 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite
        sound = values.astype(np.float32)
    if values.dtype.kind == "u":
        sound -= np.float32(128)
    if values.dtype.kind in "iu":
        sound *= np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
    return sound
