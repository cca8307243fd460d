"""Recordings that are arrays of samples, as files of PCM: so they are resampled and mixed as files are."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO, TypeGuard

import av
import numpy as np
from numpy.typing import NDArray

from transforms.audio.ffmpeg import MAX_CHANNELS, MAX_RATE, MIN_RATE

_FULL_SCALES = {"uint8": 128.0, "int8": 128.0, "int16": 32_768.0, "int32": 2_147_483_648.0}
_FRAME = 1 << 16  # samples


class SampleArrayError(ValueError):
    """Values that are no samples of a recording; the message says what they are, and what is expected."""


def pcm_writer(samples: object, sampling_rate: object) -> Callable[[BinaryIO], None]:
    """Returns a function that writes samples to a seekable file.

    Args:
        samples: float [n], [n, channels] or [channels, n] in [-1, 1], or integers of full scale in 8, 16 or
            32 bits; of two dimensions, the shorter one is that of the channels.
        sampling_rate: samples per second, a whole number.

    Raises:
        SampleArrayError: they are something else.
    """
    if not is_number(sampling_rate) or not MIN_RATE <= sampling_rate <= MAX_RATE or sampling_rate % 1:
        raise SampleArrayError(
            f"sampling_rate {sampling_rate!r}: give a whole number from {MIN_RATE} to {MAX_RATE}"
        )
    try:
        array = np.asarray(samples)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of different lengths, or no numbers
        raise SampleArrayError(f"audio is no array of samples: {error}") from error
    return partial(_encode, _channels_first(array), _full_scale(array.dtype), int(sampling_rate))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number of Python or NumPy."""
    return isinstance(value, int | float | np.integer | np.floating)


def _channels_first(samples: NDArray[Any]) -> NDArray[Any]:
    """Returns [channels, n]."""
    if samples.ndim not in (1, 2) or not samples.size or min(samples.shape[1:], default=1) == 0:
        raise SampleArrayError(
            f"audio is an array of shape {list(samples.shape)}: give [n], [n, channels] or [channels, n], "
            "with at least one sample"
        )
    samples = np.atleast_2d(samples)
    samples = samples if samples.shape[0] <= samples.shape[1] else samples.T
    if samples.shape[0] > MAX_CHANNELS:
        raise SampleArrayError(
            f"audio is an array of {samples.shape[0]} channels: give at most {MAX_CHANNELS}"
        )
    return samples


def _full_scale(dtype: np.dtype[Any]) -> float:
    """Returns the value that becomes 1."""
    if np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16":
        return 1.0
    if dtype.name in _FULL_SCALES:
        return _FULL_SCALES[dtype.name]
    raise SampleArrayError(
        f"audio is an array of {dtype}, whose full scale is unknown: give floats in [-1, 1], or "
        f"{', '.join(_FULL_SCALES)}"
    )


def _encode(samples: NDArray[Any], full_scale: float, rate: int, file: BinaryIO) -> None:
    """Writes samples [channels, n] as Wave64, as that has no limit of 4 GB."""
    n_channels = samples.shape[0]
    layout = "mono" if n_channels == 1 else f"{n_channels} channels"  # whose places are unknown
    with av.open(file, "w", format="w64") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        for start in range(0, samples.shape[1], _FRAME):
            part = samples[:, start : start + _FRAME].astype(np.float64)
            if samples.dtype == np.uint8:  # as in 8-bit WAV, silence is in the middle
                part -= full_scale
            with np.errstate(over="ignore"):  # infinite samples are invalid, and counted as such
                interleaved = (part / full_scale).astype(np.float32).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
