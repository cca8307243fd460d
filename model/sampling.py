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


class Samples(NamedTuple):
    """Texts that are being written, greedily or by sampling; N is texts, and the axis may be [B, N]."""

    tokens: jax.Array  # int32[N, L]
    last: jax.Array  # int32[N], the token to be run next
    history: History
    repetition: RepetitionState
    repeated: jax.Array  # bool[N]
    n_tokens: jax.Array  # int32[N]
    sum_logprob: jax.Array  # float32[N]
    temperature: jax.Array  # float32[N], that of the input
    uniforms: jax.Array  # float32[N, L], those of the input


class SamplingState(NamedTuple):
    """State of the decoding loop; a row writes one text."""

    rows: Rows
    samples: Samples
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
    return SamplingState(new_row(row, rules), new_samples(row, rules), caches)


def new_samples(row: RowInput, rules: DecodingRules) -> Samples:
    """Returns the texts of a window before their first token, one for each row of its random numbers."""
    n, end = len(row.uniforms), rules.special.end_of_text
    return Samples(
        tokens=jnp.full((n, rules.max_new_tokens), end, jnp.int32),
        last=jnp.broadcast_to(row.prefix[0], (n,)),
        history=initial_history(n),
        repetition=initial_repetition(n),
        repeated=jnp.zeros(n, bool),
        n_tokens=jnp.zeros(n, jnp.int32),
        sum_logprob=jnp.zeros(n, jnp.float32),
        temperature=jnp.broadcast_to(row.temperature, (n,)),
        uniforms=row.uniforms,
    )


def write_next(
    decoder: Decoder, cross_kv: CrossKV, state: SamplingState, rules: DecodingRules
) -> SamplingState:
    """Runs one token of each row, and writes the next one."""
    rows = state.rows
    was_run = jnp.arange(n_text_tokens(rules)) <= rows.token_index[:, None]
    slots = row_slots(state.caches, cross_kv, rows, rules, jnp.where(was_run, 0, -1)[:, None])
    position = rows.position[:, None]
    last, position = state.samples.last[:, None], rows.position[:, None]
    states, caches = decoder(last, position, slots, state.caches, cross_kv)
    logits = decoder.logits(states[:, 0])
    rows = with_start(rows, logits, rules)
    chosen = _choose_token(logits, rows, state.samples, rules)
    samples, is_over = write_token(chosen, rows, state.samples, rules)
    return SamplingState(rows.after_step(is_over), samples, caches)


def written(state: SamplingState, rules: DecodingRules) -> Written:
    """Returns the tokens written so far."""
    del rules  # the interface is that of `model.beam_search`
    rows, samples = state.rows, state.samples
    return Written(
        rows.is_active, samples.tokens, samples.n_tokens, samples.sum_logprob, samples.repeated, rows.start
    )


def write_token(
    chosen: tuple[jax.Array, jax.Array], rows: Rows, samples: Samples, rules: DecodingRules
) -> tuple[Samples, jax.Array]:
    """Writes one token of each text that is active and behind its prefix.

    Args:
        chosen: int32[N], the next tokens, and float32[N], their log probabilities.
        rows: the rows of the texts, one for each.
        samples: the texts.
        rules: the decoding rules.

    Returns:
        The texts, and which of them end with this token, bool[N].
    """
    (token, logprob), step = chosen, next_step(rows)
    writes = rows.is_active & (step.n_written >= 0)
    is_end = token == rules.special.end_of_text
    repetition = update_repetition(samples.repetition, token, writes & is_text(token, rules.special))
    repeats = is_repeating(repetition) & writes
    is_here = (jnp.arange(rules.max_new_tokens) == step.n_written[:, None]) & writes[:, None]
    updated = samples._replace(
        tokens=jnp.where(is_here, token[:, None], samples.tokens),
        last=jnp.where(writes, token, jnp.where(rows.is_active, rows.next_of_prefix, samples.last)),
        history=update_history(samples.history, token, step, rules),
        repetition=repetition,
        repeated=samples.repeated | repeats,
        n_tokens=samples.n_tokens + (writes & ~is_end),
        sum_logprob=samples.sum_logprob + jnp.where(writes, logprob, 0.0),
    )
    return updated, writes & (is_end | repeats | (step.n_written == rules.max_new_tokens - 1))


def _choose_token(
    logits: jax.Array, rows: Rows, samples: Samples, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the next token of each row, by its temperature, and its log probability.

    Sampling passes once more over the whole vocabulary, and is skipped if all temperatures are 0.
    """
    step = next_step(rows)
    best = best_token(logits, samples.history, step, rules)
    is_sampled = (samples.temperature > 0) & rows.is_active

    def sampled() -> tuple[jax.Array, jax.Array]:
        token, logprob = sampled_token(logits, samples, step, rules)
        return jnp.where(is_sampled, token, best[0]), jnp.where(is_sampled, logprob, best[1])

    chosen: tuple[jax.Array, jax.Array] = jax.lax.cond(is_sampled.any(), sampled, lambda: best)
    return chosen


def sampled_token(
    logits: jax.Array, samples: Samples, step: Step, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the next token of each text as it is sampled, and its log probability.

    Those at temperature 0 are arbitrary.

    Args:
        logits: float32[N, V] of the next token.
        samples: the texts.
        step: the token.
        rules: the decoding rules.
    """
    index = jnp.clip(step.n_written, 0, rules.max_new_tokens - 1)
    uniform = jnp.take_along_axis(samples.uniforms, index[:, None], axis=1)[:, 0]
    allowed = allowed_logits(logits, samples.history, step, rules)
    temperature = jnp.where(samples.temperature > 0, samples.temperature, 1.0)
    return _sample(allowed, temperature, uniform)


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
