"""Layout of the self-attention caches of a running batch: which slots a row fills, and which it attends to.

The first slots of a row are for its prompt, one for each token. Behind them each step of the loop fills K
slots, one for each hypothesis (K is 1 without beams). B is rows, S slots.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Slots, TextCaches
from model.rows import MAX_PREFIX, Rows
from model.rules import DecodingRules

_MULTIPLE = 64
"""XLA's products are fastest where the number of slots is a multiple."""


def n_slots(n_before: int, k: int, rules: DecodingRules) -> int:
    """Returns the slots of a row: `n_before` for its prompt, and K for each token of its prefix and text."""
    return n_before + _n_text_slots(k, rules)


def row_slots(
    caches: TextCaches, cross_kv: CrossKV, rows: Rows, rules: DecodingRules, origin: jax.Array
) -> Slots:
    """Returns the slots that each row fills in its next step, and attends to.

    Args:
        caches: the caches.
        cross_kv: the cross-attention K/V cache.
        rows: the rows.
        rules: the decoding rules.
        origin: int32[B, K, T], the hypothesis whose slot holds each token, of T tokens at most; -1 for those
            that were not run yet. The tokens to be run next are among them.
    """
    batch, k, _ = origin.shape
    n_positions = jax.tree.leaves(cross_kv)[0].shape[2]
    n_all = int(caches[0].key.shape[2])
    n_before = n_all - _n_text_slots(k, rules)
    first = n_before + k * rows.n_run
    prompt = jnp.arange(n_before) < rows.n_prompt[:, None, None]
    text = (origin[..., None] == jnp.arange(k)).reshape(batch, k, -1)
    spare = jnp.zeros((batch, k, n_all - n_before - text.shape[-1]), bool)
    mask = jnp.concatenate([jnp.broadcast_to(prompt, (batch, k, n_before)), text, spare], axis=-1)
    audio_mask = positions_mask(rows.n_positions, n_positions)
    return Slots(first, mask[:, None], audio_mask)


def with_prompt(caches: TextCaches, prompt: TextCaches) -> TextCaches:
    """Returns the caches of one row with the keys and values of its prompt in the first slots."""
    written: TextCaches = jax.tree.map(
        lambda cache, part: jax.lax.dynamic_update_slice(cache, part, (0, 0, 0, 0)), caches, prompt
    )
    return written


def positions_mask(n_positions: jax.Array, length: int) -> jax.Array:
    """Returns the first positions int32[B] of `length` in all, bool[B, 1, 1, length]."""
    return jnp.arange(length) < n_positions[:, None, None, None]


def n_text_tokens(rules: DecodingRules) -> int:
    """Returns T, the maximum number of tokens of a prefix and its text."""
    return MAX_PREFIX + rules.max_new_tokens


def _n_text_slots(k: int, rules: DecodingRules) -> int:
    return -(-k * n_text_tokens(rules) // _MULTIPLE) * _MULTIPLE
