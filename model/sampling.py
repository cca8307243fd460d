"""Greedy decoding and sampling: the cross-attention cache of the audio to token ids, by OpenAI's rules.

Each row of a batch decodes a window of its own (`model.rows`). Ids and probabilities are those of
`whisper/decoding.py` of openai/whisper (`DecodingTask`, `GreedyDecoder`). B is rows, L the maximum number of
tokens written (`max_new_tokens`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Decoder, TextCaches
from model.repetition import RepetitionState, initial_repetition, is_repeating, update_repetition
from model.rows import RowInput, Rows, Written, new_row, next_step, with_start
from model.rules import (
    DecodingRules,
    History,
    Step,
    allowed_logits,
    best_token,
    initial_history,
    is_text,
    update_history,
)
from model.text_cache import n_text_tokens, row_slots


class SamplingState(NamedTuple):
    """State of the decoding loop; `temperature` and `uniforms` are those of the input."""

    rows: Rows
    tokens: jax.Array  # int32[B, L]
    last: jax.Array  # int32[B], the token to be run next
    history: History
    repetition: RepetitionState
    repeated: jax.Array  # bool[B]
    n_tokens: jax.Array  # int32[B]
    sum_logprob: jax.Array  # float32[B]
    temperature: jax.Array
    uniforms: jax.Array
    caches: TextCaches


def n_hypotheses(rules: DecodingRules) -> int:
    """Returns the number of tokens that a row runs in each step: one."""
    del rules  # the interface is that of `model.beam_search`
    return 1


def new_state(row: RowInput, caches: TextCaches, rules: DecodingRules) -> SamplingState:
    """Returns the state of a window before its first token, as a batch of one row.

    Args:
        row: what the window asks for.
        caches: self-attention caches of one row, filled with its prompt.
        rules: the decoding rules.
    """
    return SamplingState(
        rows=new_row(row, rules),
        tokens=jnp.full((1, rules.max_new_tokens), rules.special.end_of_text, jnp.int32),
        last=row.prefix[None, 0],
        history=initial_history(1),
        repetition=initial_repetition(1),
        repeated=jnp.zeros(1, bool),
        n_tokens=jnp.zeros(1, jnp.int32),
        sum_logprob=jnp.zeros(1, jnp.float32),
        temperature=row.temperature[None],
        uniforms=row.uniforms[None],
        caches=caches,
    )


def write_next(
    decoder: Decoder, cross_kv: CrossKV, state: SamplingState, rules: DecodingRules
) -> SamplingState:
    """Runs one token of each row, and writes the next one."""
    rows = state.rows
    was_run = jnp.arange(n_text_tokens(rules)) <= rows.token_index[:, None]
    slots = row_slots(state.caches, cross_kv, rows, rules, jnp.where(was_run, 0, -1)[:, None])
    position = rows.position[:, None]
    states, caches = decoder(state.last[:, None], position, slots, state.caches, cross_kv)
    logits = decoder.logits(states[:, 0])
    rows = with_start(rows, logits, rules)
    return _write_token(logits, state._replace(rows=rows, caches=caches), rules)


def written(state: SamplingState, rules: DecodingRules) -> Written:
    """Returns the tokens written so far."""
    del rules  # the interface is that of `model.beam_search`
    rows = state.rows
    return Written(
        rows.is_active, state.tokens, state.n_tokens, state.sum_logprob, state.repeated, rows.start
    )


def _write_token(logits: jax.Array, state: SamplingState, rules: DecodingRules) -> SamplingState:
    """Writes one token of each row that is active and behind its prefix."""
    rows, step = state.rows, next_step(state.rows)
    token, logprob = _choose_token(logits, state, step, rules)
    writes = rows.is_active & (step.n_written >= 0)
    is_end = token == rules.special.end_of_text
    repetition = update_repetition(state.repetition, token, writes & is_text(token, rules.special))
    repeats = is_repeating(repetition) & writes
    is_here = (jnp.arange(rules.max_new_tokens) == step.n_written[:, None]) & writes[:, None]
    is_over = writes & (is_end | repeats | (step.n_written == rules.max_new_tokens - 1))
    return state._replace(
        rows=rows.after_step(is_over),
        tokens=jnp.where(is_here, token[:, None], state.tokens),
        last=jnp.where(writes, token, jnp.where(rows.is_active, rows.next_of_prefix, state.last)),
        history=update_history(state.history, token, step, rules),
        repetition=repetition,
        repeated=state.repeated | repeats,
        n_tokens=state.n_tokens + (writes & ~is_end),
        sum_logprob=state.sum_logprob + jnp.where(writes, logprob, 0.0),
    )


def _choose_token(
    logits: jax.Array, state: SamplingState, step: Step, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the next token of each row, by its temperature, and its log probability.

    Sampling passes once more over the whole vocabulary, and is skipped if all temperatures are 0.
    """
    best = best_token(logits, state.history, step, rules)
    is_sampled = (state.temperature > 0) & state.rows.is_active

    def sampled() -> tuple[jax.Array, jax.Array]:
        index = jnp.clip(step.n_written, 0, rules.max_new_tokens - 1)
        uniform = jnp.take_along_axis(state.uniforms, index[:, None], axis=1)[:, 0]
        allowed = allowed_logits(logits, state.history, step, rules)
        token, logprob = _sample(allowed, jnp.where(is_sampled, state.temperature, 1.0), uniform)
        return jnp.where(is_sampled, token, best[0]), jnp.where(is_sampled, logprob, best[1])

    chosen: tuple[jax.Array, jax.Array] = jax.lax.cond(is_sampled.any(), sampled, lambda: best)
    return chosen


def _sample(logits: jax.Array, temperature: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the token at `uniform` of the cumulative probabilities, and its log probability at 1.

    By inversion of the cumulative distribution, so that the token depends on a single number of the input: it
    is the same on every device and in every batch.
    """
    scaled = logits / temperature[:, None]
    cumulative = jnp.cumsum(jnp.exp(scaled - scaled.max(axis=-1, keepdims=True)), axis=-1)
    # Sums in float32 are inexact: the target must be reached, and a forbidden token must not be taken.
    reached = cumulative > uniform[:, None] * (cumulative[:, -1:] * (1 - 1e-6))
    token = (reached & (logits > -jnp.inf)).argmax(axis=-1).astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    return token, chosen - jax.nn.logsumexp(logits, axis=-1)
