"""Log-mel spectrogram: the input features of Whisper, computed on the device.

Follows `whisper/audio.py: log_mel_spectrogram` of openai/whisper: 400-sample periodic Hann frames every
160 samples, reflected at both ends, power spectrum, Slaney mel filters, log10 with a floor of 1e-10, clamped
to at most 8 below the window's maximum, scaled by (x + 4) / 4.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE

N_FFT = 400  # samples: 25 ms
HOP_LENGTH = 160  # samples: 10 ms

_HZ_PER_MEL = 200 / 3  # the Slaney scale is linear up to 1 kHz, logarithmic above
_LOG_START_HZ = 1000.0
_MELS_PER_LOG_HZ = 27 / np.log(6.4)


@functools.cache
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Returns Slaney-style triangular filters of unit area, float32[201, n_mels], from FFT bins to mel bins.

    Slaney, "Auditory Toolbox" (1998); the same as `librosa.filters.mel(sr=16000, n_fft=400)`.
    """
    bins_hz = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges_hz = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - low) / (centre - low)
    falling = (high - bins_hz[:, None]) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (high - low)).astype(np.float32)


def log_mel(samples: jax.Array, n_mels: int) -> jax.Array:
    """Returns the log-mel spectrogram of samples at 16 kHz.

    Args:
        samples: float32[B, N]; N is a multiple of 320, as the encoder takes an even number of frames.
        n_mels: mel bins.

    Returns:
        float32[B, n_mels, N / 160].

    Raises:
        ValueError: N is not a positive multiple of 320.
    """
    n_samples = samples.shape[1]
    if n_samples % (2 * HOP_LENGTH) or not n_samples:
        raise ValueError(f"{n_samples} samples are not a positive multiple of {2 * HOP_LENGTH}")
    half = N_FFT // 2
    padded = jnp.pad(samples, ((0, 0), (half, half)), mode="reflect")
    # A frame is 2.5 hops: frames are concatenated from slices of 160 samples, which needs no gather.
    n_slices = n_samples // HOP_LENGTH + 2
    slices = padded[:, : n_slices * HOP_LENGTH].reshape(samples.shape[0], n_slices, HOP_LENGTH)
    frames = jnp.concatenate([slices[:, :-2], slices[:, 1:-1], slices[:, 2:, : N_FFT % HOP_LENGTH]], axis=-1)
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    spectrum = jnp.fft.rfft(frames * window, axis=-1)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mels = jnp.einsum("btf,fm->bmt", power, mel_filters(n_mels), precision=jax.lax.Precision.HIGHEST)
    log_mels = jnp.log10(jnp.maximum(mels, 1e-10))
    floor = jnp.max(log_mels, axis=(1, 2), keepdims=True) - 8.0
    return (jnp.maximum(log_mels, floor) + 4.0) / 4.0


def _hz_to_mel(hz: float) -> float:
    return float(_LOG_START_HZ / _HZ_PER_MEL + np.log(hz / _LOG_START_HZ) * _MELS_PER_LOG_HZ)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    start = _LOG_START_HZ / _HZ_PER_MEL
    return np.where(
        mels < start, mels * _HZ_PER_MEL, _LOG_START_HZ * np.exp((mels - start) / _MELS_PER_LOG_HZ)
    )
