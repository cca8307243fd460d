"""Catches a decoder that goes round in circles while it still does, so that it can be stopped at once.

openai/whisper finds such a window afterwards, by its compression ratio (`whisper/transcribe.py`), when it has
run to the limit of tokens; in a batch, all other windows have waited for it by then. A loop is a stretch of
text that was written four times in a row, timestamps aside.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_PERIOD = 56  # tokens: four times as many are as good as the limit of 224
COPIES = 4  # a sentence said three times over is a refrain; what is said four times is looked at again
LEAST_REPEATED = 24  # tokens: "no, no, no, no" is no loop yet


class LoopState(NamedTuple):
    """The text written last, and for how long it has repeated itself.

    Attributes:
        recent: int32[N, MAX_PERIOD], text tokens, the latest first; -1 where there is none yet.
        repeated: int32[N, MAX_PERIOD], how many tokens up to the latest equal the one p + 1 before each.
    """

    recent: jax.Array
    repeated: jax.Array


def no_loop(n: int) -> LoopState:
    """The state of `n` sequences before their first token."""
    return LoopState(jnp.full((n, MAX_PERIOD), -1, jnp.int32), jnp.zeros((n, MAX_PERIOD), jnp.int32))


def follow(state: LoopState, token: jax.Array, is_text: jax.Array) -> LoopState:
    """The state once `token` int32[N] was written; what is not `is_text` bool[N] counts for nothing."""
    repeated = jnp.where(state.recent == token[:, None], state.repeated + 1, 0)
    recent = jnp.concatenate([token[:, None], state.recent[:, :-1]], axis=1)
    keep = is_text[:, None]
    return LoopState(jnp.where(keep, recent, state.recent), jnp.where(keep, repeated, state.repeated))


def is_looping(state: LoopState) -> jax.Array:
    """Whether a stretch of text was written `COPIES` times in a row and is long enough, bool[N]."""
    periods = np.arange(1, MAX_PERIOD + 1)
    return (state.repeated >= np.maximum((COPIES - 1) * periods, LEAST_REPEATED)).any(axis=1)
