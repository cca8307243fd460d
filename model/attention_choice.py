"""Choice of the implementation of the encoder's attention for the devices of a mesh."""

from __future__ import annotations

import logging
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from model.config import N_POSITIONS, WhisperConfig
from model.long_attention import attend_long
from model.precision import EncoderAttention
from model.sharding import MODEL

logger = logging.getLogger(__name__)

_AMPERE = (8, 0)
"""The compute capability from which on cuDNN has fused attention."""

_MAX_ERROR = 0.005  # a tenth of the standard deviation of the results


def choose_attention(mesh: Mesh, config: WhisperConfig, dtype: np.dtype[Any]) -> EncoderAttention:
    """Returns the fastest implementation of the encoder's attention that works on the devices of a mesh.

    cuDNN is tried here, with the shape of a window, so that a card or a library that cannot run it does not
    fail at the first batch. Where layers are divided over devices it is not used: XLA would have to partition
    the call.

    Args:
        mesh: the devices, all of one kind.
        config: sizes of the network.
        dtype: dtype of the products of the attention.
    """
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return EncoderAttention.BY_HEAD
    if mesh.shape[MODEL] > 1 or dtype.itemsize != 2 or not _may_have_cudnn(device):
        return EncoderAttention.BLOCKED
    problem = cudnn_problem(device, config, dtype)
    if problem is None:
        return EncoderAttention.CUDNN
    logger.warning("the encoder is slower than it could be, as cuDNN's attention does not work: %s", problem)
    return EncoderAttention.BLOCKED


def cudnn_problem(device: jax.Device, config: WhisperConfig, dtype: np.dtype[Any]) -> str | None:
    """Runs cuDNN's attention on a device, and returns why it cannot be used; None if it is right.

    Args:
        device: a device of CUDA.
        config: sizes of the network.
        dtype: float16 or bfloat16.
    """
    width = config.d_model // config.encoder_heads
    random = np.random.default_rng(0)
    operands = [
        jax.device_put(random.standard_normal((1, N_POSITIONS, 2 * width), np.float32), device)
        for _ in range(3)
    ]

    def attended(method: EncoderAttention) -> NDArray[np.float32]:
        def attend(*arrays: jax.Array) -> jax.Array:
            result_dtype = np.dtype(np.float32)
            return attend_long(*arrays, n_heads=2, dtype=dtype, result_dtype=result_dtype, method=method)

        return np.asarray(jax.jit(attend)(*operands))

    try:
        difference = np.abs(attended(EncoderAttention.CUDNN) - attended(EncoderAttention.BLOCKED)).max()
    except (RuntimeError, ValueError) as error:  # JAX's errors, and those of XLA
        return f"{type(error).__name__}: {error}"
    if not difference < _MAX_ERROR:  # also if it is not a number
        return f"its results differ by {difference:.3g}"
    return None


def _may_have_cudnn(device: jax.Device) -> bool:
    """Whether a device is a card of NVIDIA's that is not too old."""
    if device.platform not in ("gpu", "cuda") or "cuda" not in device.client.platform_version:
        return False
    capability = str(device.compute_capability).split(".")
    return tuple(map(int, capability)) >= _AMPERE
