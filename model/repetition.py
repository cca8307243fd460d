"""Detects degenerate repetition during decoding, so that a repeating sequence is stopped at once.

openai/whisper detects such a window afterwards, by its compression ratio (`whisper/transcribe.py`), when it
has run to the token limit; in a batch, all other windows have waited for it by then. Here a sequence repeats
itself when it has generated the same phrase four times in a row, timestamps aside.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_PERIOD = 56  # tokens: four copies of a longer phrase reach the limit of 224 tokens anyway
MIN_COPIES = 4  # three copies of a sentence may be a refrain; four lead to temperature fallback
MIN_REPEATED_TOKENS = 24  # tokens; fewer, such as "no, no, no, no", are ordinary speech


class RepetitionState(NamedTuple):
    """The latest text tokens of each sequence, and how long they have repeated themselves.

    Attributes:
        recent: int32[N, MAX_PERIOD], text tokens, the latest first; -1 before the first token.
        repeated: int32[N, MAX_PERIOD]; [n, p] is the length of the latest run of tokens that equal the token
            p + 1 positions before them.
    """

    recent: jax.Array
    repeated: jax.Array


def initial_repetition(n: int) -> RepetitionState:
    """Returns the state of `n` sequences before their first token."""
    return RepetitionState(jnp.full((n, MAX_PERIOD), -1, jnp.int32), jnp.zeros((n, MAX_PERIOD), jnp.int32))


def update_repetition(state: RepetitionState, token: jax.Array, is_text: jax.Array) -> RepetitionState:
    """Returns the state after `token` int32[N]; tokens that are not `is_text` bool[N] are ignored."""
    repeated = jnp.where(state.recent == token[:, None], state.repeated + 1, 0)
    recent = jnp.concatenate([token[:, None], state.recent[:, :-1]], axis=1)
    keep = is_text[:, None]
    return RepetitionState(jnp.where(keep, recent, state.recent), jnp.where(keep, repeated, state.repeated))


def is_repeating(state: RepetitionState) -> jax.Array:
    """Whether a phrase fills `MIN_COPIES` copies in a row and `MIN_REPEATED_TOKENS` tokens, bool[N]."""
    periods = np.arange(1, MAX_PERIOD + 1)
    return (state.repeated >= np.maximum((MIN_COPIES - 1) * periods, MIN_REPEATED_TOKENS)).any(axis=1)
