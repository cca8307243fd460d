"""Networks for tests, and decoding to the end as `model.programs` does it."""

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
from model.prefill import Asked
from model.rules import DecodingRules

FLOAT32 = Precision(np.dtype(np.float32))


def random_whisper(config: WhisperConfig, precision: Precision = FLOAT32, seed: int = 0) -> Whisper:
    """A network with random weights, as large as those that training begins with."""
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
    decoder: Any,  # noqa: ANN401  # a `Decoder`, or what behaves like one
    rules: DecodingRules,
    *,
    shrinks: bool = False,
) -> Callable[[jax.Array, Asked], Generated]:
    """Encoded audio [B, 1500, D] and what is asked of it, to what is written."""
    run = BatchDecoder(method, lambda _: decoder, rules, None, shrinks=shrinks)
    return lambda encoded, asked: run(nnx.State({}), decoder.remember(encoded), asked)
