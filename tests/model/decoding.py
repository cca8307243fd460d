"""Runs a decoder's loop to its end, as `model.programs` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from model.batches import BatchDecoder, Generated, Method
from model.generate import Asked
from model.quantize import Precision
from model.rules import DecodingRules

FLOAT32 = Precision(np.dtype(np.float32))


def compiled(
    method: Method,
    decoder: Any,  # noqa: ANN401  # a `Decoder`, or what behaves like one
    rules: DecodingRules,
    *,
    shrinks: bool = False,
) -> Callable[[jax.Array, Asked], Generated]:
    """Encoded audio [B, 1500, D] and what is asked of it, to what is written."""
    run = BatchDecoder(method, lambda _: decoder, rules, shrinks=shrinks)
    return lambda encoded, asked: run(nnx.State({}), decoder.remember(encoded), asked)
