"""Greedy decoding and sampling: the cross-attention cache of the audio to token ids, by OpenAI's rules.

Each window of a batch is decoded by itself. The loop can be stopped and resumed, so that windows that have
finished can be removed from the batch (`model.batch_decoder`). Ids and probabilities are those of
`whisper/decoding.py` of openai/whisper (`DecodingTask`, `GreedyDecoder`). B is windows, P the length of the
longest prompt in the batch, L the maximum number of tokens written (`max_new_tokens`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Decoder, TextCaches
from model.prefill import Decoded, DecodeInput, PrefillResult, first_step, padding_of, prefill
from model.repetition import RepetitionState, initial_repetition, is_repeating, update_repetition
from model.rules import DecodingRules, History, allowed_logits, best_token, initial_history, update_history


class SamplingState(NamedTuple):
    """State of the decoding loop after `step` tokens.

    `temperature`, `uniforms` and `n_padding`, the number of padding slots at the start of the caches, are
    those of the input; `n_padding` is None for a batch without prompts.
    """

    step: jax.Array
    tokens: jax.Array
    last: jax.Array
    history: History
    repetition: RepetitionState
    repeated: jax.Array
    finished: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    temperature: jax.Array
    uniforms: jax.Array
    n_padding: jax.Array | None
    caches: TextCaches


def start(
    decoder: Decoder, cross_kv: CrossKV, decode_input: DecodeInput, rules: DecodingRules
) -> tuple[PrefillResult, SamplingState]:
    """Runs the prefill and writes the first token. Args: see `prefill`."""
    filled = prefill(decoder, cross_kv, decode_input, rules)
    state = _initial_state(filled.caches, decode_input, rules)
    return filled.result, _write_token(filled.logits, state, rules)


def advance(
    decoder: Decoder,
    cross_kv: CrossKV,
    state: SamplingState,
    rules: DecodingRules,
    *,
    max_unfinished: int = 0,
) -> SamplingState:
    """Writes one token after the other, until at most `max_unfinished` windows are unfinished."""
    n_before = state.caches[0].key.shape[2] - rules.max_new_tokens

    def should_continue(state: SamplingState) -> jax.Array:
        return (~is_finished(state, rules)).sum() > max_unfinished

    def write_next(state: SamplingState) -> SamplingState:
        position = n_before + state.step - 1
        logits, caches = decoder(state.last[:, None], position, state.caches, cross_kv, state.n_padding)
        return _write_token(logits, state._replace(caches=caches), rules)

    advanced: SamplingState = jax.lax.while_loop(should_continue, write_next, state)
    return advanced


def is_finished(state: SamplingState, rules: DecodingRules) -> jax.Array:
    """Returns a mask of the windows for which no more is written, bool[B]."""
    return state.finished | (state.step >= rules.max_new_tokens)


def finalize(state: SamplingState, rules: DecodingRules) -> Decoded:
    """Returns the tokens written so far."""
    del rules  # the interface is that of `model.beam_search`
    return Decoded(state.tokens, state.n_tokens, state.sum_logprob, state.repeated)


def _initial_state(caches: TextCaches, decode_input: DecodeInput, rules: DecodingRules) -> SamplingState:
    batch = decode_input.wanted.shape[0]
    no, zeros = jnp.zeros(batch, bool), jnp.zeros(batch, jnp.int32)
    return SamplingState(
        step=first_step(),
        tokens=jnp.full((batch, rules.max_new_tokens), rules.special.end_of_text, jnp.int32),
        last=zeros,
        history=initial_history(batch),
        repetition=initial_repetition(batch),
        repeated=no,
        finished=~decode_input.wanted,
        n_tokens=zeros,
        sum_logprob=jnp.zeros(batch, jnp.float32),
        temperature=decode_input.temperature,
        uniforms=decode_input.uniforms,
        n_padding=padding_of(decode_input),
        caches=caches,
    )


def _write_token(logits: jax.Array, state: SamplingState, rules: DecodingRules) -> SamplingState:
    """Writes one token of each unfinished window."""
    token, logprob = _choose_token(logits, state, rules)
    end = rules.special.end_of_text
    token = jnp.where(state.finished, end, token)
    ends = token == end
    repetition = update_repetition(state.repetition, token, token < end)
    repeats = is_repeating(repetition) & ~state.finished
    return state._replace(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_slice(state.tokens, token[:, None], (0, state.step)),
        last=token,
        history=update_history(state.history, token, state.step, rules),
        repetition=repetition,
        repeated=state.repeated | repeats,
        finished=state.finished | ends | repeats,
        n_tokens=state.n_tokens + ~ends,
        sum_logprob=state.sum_logprob + jnp.where(state.finished, 0.0, logprob),
    )


def _choose_token(
    logits: jax.Array, state: SamplingState, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the next token of each window, by its temperature, and its log probability.

    Sampling passes once more over the whole vocabulary, and is skipped if all temperatures are 0.
    """
    best = best_token(logits, state.history, state.step, rules)
    is_sampled = state.temperature > 0

    def sampled() -> tuple[jax.Array, jax.Array]:
        uniform = jax.lax.dynamic_index_in_dim(state.uniforms, state.step, axis=1, keepdims=False)
        allowed = allowed_logits(logits, state.history, state.step, rules)
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
