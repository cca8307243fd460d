"""Layout of the self-attention caches of a running batch: which slots a row fills, and which it attends to.

The first slots of a row are for its prompt, one for each token. Behind them each step of the loop fills K
slots, one for each hypothesis (K is 1 without beams). Every step reads all slots, so caches have room for
short texts first, and grow when a row needs more. B is rows, S slots.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from model.cache_sizes import MAX_PREFIX
from model.decoder import CrossKV, Slots, TextCaches
from model.rows import Rows
from model.rules import DecodingRules


def room_sizes(n_before: int, k: int, rules: DecodingRules) -> tuple[int, ...]:
    """Returns the numbers of tokens, prefix and text, that caches may have room for, the smallest first.

    They are few, as programs are compiled for each; previous text is rare, and has only the largest.
    """
    shorter = () if n_before else (64,) if k == 1 else (64, 128)
    longest = n_text_tokens(rules)
    return (*(size for size in shorter if size < longest), longest)


def room(caches: TextCaches, rows: Rows, k: int, rules: DecodingRules) -> int:
    """Returns the number of tokens, prefix and text, that caches have room for."""
    n_text_slots = int(caches[0].key.shape[2]) - rows.n_before
    return min(n_text_slots // k, n_text_tokens(rules))


def resized(caches: TextCaches, n_slots: int) -> TextCaches:
    """Returns caches with that number of slots: the first of them, or empty ones behind them."""

    def with_slots(x: jax.Array) -> jax.Array:
        n_missing = max(n_slots - x.shape[2], 0)
        return jnp.pad(x[:, :, :n_slots], ((0, 0), (0, 0), (0, n_missing), (0, 0)))

    fitted: TextCaches = jax.tree.map(with_slots, caches)
    return fitted


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
    origin = origin[..., : room(caches, rows, k, rules)]
    first = rows.n_before + k * rows.token_index
    prompt = jnp.broadcast_to(rows.attended_prompt[:, None], (batch, k, rows.n_before))
    text = (origin[..., None] == jnp.arange(k)).reshape(batch, k, -1)
    spare = jnp.zeros((batch, k, n_all - rows.n_before - text.shape[-1]), bool)
    mask = jnp.concatenate([prompt, text, spare], axis=-1)
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
