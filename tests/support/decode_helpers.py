"""Random networks for tests, and complete decoding as in `model.programs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.batch_decoder import BatchDecoder, Generated, Method
from model.config import WhisperConfig
from model.network import Whisper
from model.precision import Precision
from model.prefill import DecodeInput
from model.rules import DecodingRules

FLOAT32 = Precision(np.dtype(np.float32))


def random_whisper(config: WhisperConfig, precision: Precision = FLOAT32, seed: int = 0) -> Whisper:
    """A network with random weights of the scale of an initialised network."""
    random = np.random.default_rng(seed)
    network = Whisper(config, precision=precision)

    def fill(path: tuple[object, ...], weight: jax.Array) -> jax.Array:
        if weight.ndim != 2 or "positions" in str(path):
            return weight
        return jnp.asarray(random.standard_normal(weight.shape) * weight.shape[0] ** -0.5, weight.dtype)

    nnx.update(network, jax.tree_util.tree_map_with_path(fill, nnx.state(network)))
    return network


def compiled(
    method: Method,
    decoder: Any,  # noqa: ANN401  # a `Decoder`, or a test double
    rules: DecodingRules,
    *,
    shrinks: bool = False,
) -> Callable[[jax.Array, DecodeInput], Generated]:
    """Returns a function of encoded audio [B, 1500, D] and the decoder's input that decodes it completely."""
    run = BatchDecoder(method, lambda _: decoder, rules, None, shrinks=shrinks)
    return lambda encoded, decode_input: run(nnx.State({}), decoder.cross_kv(encoded), decode_input)
