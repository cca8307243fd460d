"""Several samples of each window, of which the likeliest is kept; its interface is that of `model.sampling`.

As `best_of` of openai/whisper (`GreedyDecoder` and `MaximumLikelihoodRanker` of `whisper/decoding.py`). The
hypotheses of a window share its encoded audio and its row. Each is the sample that `model.sampling` writes
with the same random numbers. B is rows, N `best_of`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Decoder, TextCaches
from model.hypotheses import flatten, score, split
from model.rows import RowInput, Rows, Written, new_row, next_step, with_start
from model.rules import DecodingRules
from model.sampling import Samples, new_samples, sampled_token, write_token
from model.text_cache import n_text_tokens, row_slots


class BestOfState(NamedTuple):
    """State of the decoding loop; a row is active while one of its hypotheses is."""

    rows: Rows
    is_active: jax.Array  # bool[B, N]
    samples: Samples  # of arrays [B, N, ...]
    caches: TextCaches


def n_hypotheses(rules: DecodingRules) -> int:
    """Returns N, the number of tokens that a row runs in each step."""
    return rules.best_of


def new_state(row: RowInput, caches: TextCaches, rules: DecodingRules) -> BestOfState:
    """Returns the state of a window before its first token, as a batch of one row.

    Args:
        row: what the window asks for; its temperature is above 0, and it has random numbers for N hypotheses.
        caches: self-attention caches of one row, filled with its prompt.
        rules: the decoding rules.
    """
    return BestOfState(
        rows=new_row(row, rules),
        is_active=jnp.ones((1, rules.best_of), bool),
        samples=split(new_samples(row, rules), rules.best_of),
        caches=caches,
    )


def write_next(decoder: Decoder, cross_kv: CrossKV, state: BestOfState, rules: DecodingRules) -> BestOfState:
    """Runs the last tokens of each window's hypotheses, and writes the next ones."""
    rows, n = state.rows, rules.best_of
    was_run = jnp.arange(n_text_tokens(rules)) <= rows.token_index[:, None, None]
    own_slots = jnp.where(was_run, jnp.arange(n)[:, None], -1)
    slots = row_slots(state.caches, cross_kv, rows, rules, own_slots)
    states, caches = decoder(state.samples.last, rows.position[:, None], slots, state.caches, cross_kv)
    logits = decoder.logits(states)
    rows = with_start(rows, logits[:, 0], rules)  # hypotheses differ only behind the prefix
    of_each: Rows = jax.tree.map(lambda x: jnp.repeat(x, n, axis=0), rows)
    of_each = of_each._replace(is_active=flatten(state.is_active))
    samples, flat_logits = flatten(state.samples), flatten(logits)
    chosen = sampled_token(flat_logits, samples, next_step(of_each), rules)
    samples, is_over = write_token(chosen, of_each, samples, rules)
    is_active = state.is_active & ~split(is_over, n)
    return BestOfState(rows.after_step(~is_active.any(axis=1)), is_active, split(samples, n), caches)


def written(state: BestOfState, rules: DecodingRules) -> Written:
    """Returns the best hypothesis of each window, by its log probability over its length (or its penalty).

    One that was stopped for repetition is only kept if all were; of equals, the first is. One that is not
    finite is kept, so that its window fails as that of a single sample does.
    """
    samples = state.samples
    scores = score(samples.sum_logprob, samples.n_tokens, rules)
    loses = samples.repeated & ~samples.repeated.all(axis=1, keepdims=True)
    ranked = jnp.where(jnp.isfinite(scores), jnp.where(loses, -jnp.inf, scores), jnp.inf)
    best = ranked.argmax(axis=1)
    kept: Samples = jax.tree.map(lambda x: x[jnp.arange(len(best)), best], samples)
    rows = state.rows
    return Written(rows.is_active, kept.tokens, kept.n_tokens, kept.sum_logprob, kept.repeated, rows.start)
