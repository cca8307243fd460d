"""Beam search, as `BeamSearchDecoder` of `whisper/decoding.py`; its interface is that of `model.sampling`.

Each window keeps its K likeliest unfinished hypotheses. Of all their continuations, those that end and are
likelier than the K-th that continues are finished hypotheses; a window is done when `patience` times K have
finished (Kasai et al., 2022). B is windows, K `beam_size`, M the finished hypotheses that are kept, L the
maximum number of tokens written.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Decoder, TextCaches
from model.prefill import Decoded, DecodeInput, Prefill, PrefillResult, first_step, padding_of, prefill
from model.repetition import RepetitionState, initial_repetition, is_repeating, update_repetition
from model.rules import DecodingRules, History, allowed_logits, initial_history, update_history

State = TypeVar("State", History, RepetitionState)


class Finished(NamedTuple):
    """Hypotheses that have ended; their log probabilities include the end of the text."""

    tokens: jax.Array  # int32[B, M, L]
    sum_logprob: jax.Array  # float32[B, M], minus infinity in unused slots
    n_tokens: jax.Array  # int32[B, M]
    n_finished: jax.Array  # int32[B]


class BeamState(NamedTuple):
    """State of the search after `step` tokens; the hypotheses of a window are sorted, the likeliest first."""

    step: jax.Array
    tokens: jax.Array  # int32[B, K, L]
    last: jax.Array  # int32[B, K]
    sum_logprob: jax.Array  # float32[B, K]
    history: History  # of arrays [B, K]
    repetition: RepetitionState  # of arrays [B, K, ...]
    repeated: jax.Array  # bool[B]
    n_written: jax.Array  # int32[B]: tokens, fewer than `step` once the window is done
    finished: Finished
    origin: jax.Array  # int32[B, K, L]: the hypothesis each token was written for; -1 if not yet run
    n_padding: jax.Array  # int32[B]: padding slots at the start of the caches
    caches: TextCaches


class _Candidates(NamedTuple):
    """Continuations of a window's hypotheses, [B, C] each, the likeliest first; `parent` is 0 to K - 1."""

    token: jax.Array
    parent: jax.Array
    sum_logprob: jax.Array


def start(
    decoder: Decoder, cross_kv: CrossKV, decode_input: DecodeInput, rules: DecodingRules
) -> tuple[PrefillResult, BeamState]:
    """Runs the prefill and writes the first token of each hypothesis.

    Args: see `model.prefill.prefill`; the temperatures are ignored.
    """
    filled = prefill(decoder, cross_kv, decode_input, rules, n_hypotheses=rules.beam_size)
    logits = jnp.repeat(filled.logits[:, None], rules.beam_size, axis=1)
    return filled.result, _write_tokens(logits, _initial_state(filled, decode_input, rules), rules)


def advance(
    decoder: Decoder, cross_kv: CrossKV, state: BeamState, rules: DecodingRules, *, max_unfinished: int = 0
) -> BeamState:
    """Writes one token after the other, until at most `max_unfinished` windows are unfinished."""
    k = rules.beam_size
    n_before = state.caches[0].key.shape[2] - k * rules.max_new_tokens

    def should_continue(state: BeamState) -> jax.Array:
        return (~is_finished(state, rules)).sum() > max_unfinished

    def write_next(state: BeamState) -> BeamState:
        last = state.step - 1  # index of the last token, among those written
        origin = state.origin.at[:, :, last].set(jnp.arange(k))
        mask = _cache_mask(origin, state.n_padding, n_before)
        positions = (n_before + last - state.n_padding)[:, None]
        slot = n_before + last * k
        logits, caches = decoder.decode_beams(state.last, slot, positions, mask, state.caches, cross_kv)
        return _write_tokens(logits, state._replace(origin=origin, caches=caches), rules)

    advanced: BeamState = jax.lax.while_loop(should_continue, write_next, state)
    return advanced


def is_finished(state: BeamState, rules: DecodingRules) -> jax.Array:
    """Returns a mask of the windows for which the search is over, bool[B]."""
    return _is_done(state, rules) | (state.step >= rules.max_new_tokens)


def _cache_mask(origin: jax.Array, n_padding: jax.Array, n_before: int) -> jax.Array:
    """Returns a mask of the cache slots of each hypothesis, bool[B, K, n_before + K * L].

    A hypothesis's token of each step is in the slot of the hypothesis that it was written for at that step.
    So when hypotheses fork, `origin` is copied and their caches are not.
    """
    batch, k, _ = origin.shape
    written = (origin[..., None] == jnp.arange(k)).reshape(batch, k, -1)
    prompt = jnp.arange(n_before) >= n_padding[:, None, None]
    return jnp.concatenate([jnp.broadcast_to(prompt, (batch, k, n_before)), written], axis=-1)


def n_finished_needed(rules: DecodingRules) -> int:
    """Returns M, the number of finished hypotheses that ends the search of a window."""
    return max(1, round(rules.beam_size * rules.patience))


def _initial_state(filled: Prefill, decode_input: DecodeInput, rules: DecodingRules) -> BeamState:
    batch, k, m = filled.logits.shape[0], rules.beam_size, n_finished_needed(rules)
    end, n_tokens = rules.special.end_of_text, rules.max_new_tokens
    padding = padding_of(decode_input)
    return BeamState(
        step=first_step(),
        tokens=jnp.full((batch, k, n_tokens), end, jnp.int32),
        last=jnp.zeros((batch, k), jnp.int32),
        # All hypotheses are still the same: one of them continues.
        sum_logprob=jnp.where(jnp.arange(k) == 0, 0.0, -jnp.inf) + jnp.zeros((batch, 1)),
        history=_split_beams(initial_history(batch * k), k),
        repetition=_split_beams(initial_repetition(batch * k), k),
        repeated=jnp.zeros(batch, bool),
        n_written=jnp.zeros(batch, jnp.int32),
        finished=Finished(
            tokens=jnp.full((batch, m, n_tokens), end, jnp.int32),
            sum_logprob=jnp.full((batch, m), -jnp.inf),
            n_tokens=jnp.zeros((batch, m), jnp.int32),
            n_finished=jnp.where(decode_input.wanted, 0, m),
        ),
        origin=jnp.full((batch, k, n_tokens), -1),
        n_padding=jnp.zeros(batch, jnp.int32) if padding is None else padding,
        caches=filled.caches,
    )


def _is_done(state: BeamState, rules: DecodingRules) -> jax.Array:
    return state.repeated | (state.finished.n_finished >= n_finished_needed(rules))


def _write_tokens(logits: jax.Array, state: BeamState, rules: DecodingRules) -> BeamState:
    """Writes one token of each hypothesis."""
    candidates = _continue(logits, state, rules)
    ends = candidates.token == rules.special.end_of_text
    n_continuing = jnp.cumsum(~ends, axis=1) - ~ends
    finished = _finish(candidates, ends & (n_continuing < rules.beam_size), state)
    # The first K that continue: at most one continuation of a hypothesis ends it, so there are K.
    order = jnp.argsort(jnp.where(ends, ends.shape[1], 0), axis=1, stable=True)[:, : rules.beam_size]
    token, parent, sum_logprob = (jnp.take_along_axis(x, order, axis=1) for x in candidates)
    done = _is_done(state, rules)
    parent = jnp.where(done[:, None], jnp.arange(rules.beam_size), parent)  # finished windows keep theirs
    tokens, origin, history, repetition = jax.tree.map(
        lambda x: x[jnp.arange(len(parent))[:, None], parent],
        (state.tokens, state.origin, state.history, state.repetition),
    )
    flat = token.reshape(-1)
    repetition = update_repetition(_flatten_beams(repetition), flat, flat < rules.special.end_of_text)
    history = update_history(_flatten_beams(history), flat, state.step, rules)
    # Of the hypotheses that repeat themselves only the likeliest counts: another may still lose.
    repeats = is_repeating(repetition).reshape(parent.shape)[:, 0]
    return BeamState(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_slice(tokens, token[:, :, None], (0, 0, state.step)),
        last=token,
        sum_logprob=jnp.where(done[:, None], state.sum_logprob, sum_logprob),
        history=_split_beams(history, rules.beam_size),
        repetition=_split_beams(repetition, rules.beam_size),
        repeated=state.repeated | (repeats & ~done),
        n_written=state.n_written + ~done,
        finished=finished,
        origin=origin,
        n_padding=state.n_padding,
        caches=state.caches,
    )


def _flatten_beams(state: State) -> State:
    """Reshapes arrays [B, K, ...] to [B * K, ...]."""
    joined: State = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
    return joined


def _split_beams(state: State, k: int) -> State:
    """Reshapes arrays [B * K, ...] to [B, K, ...]."""
    split: State = jax.tree.map(lambda x: x.reshape(-1, k, *x.shape[1:]), state)
    return split


def _continue(logits: jax.Array, state: BeamState, rules: DecodingRules) -> _Candidates:
    """Returns the likeliest K + 1 continuations of each hypothesis; at least K of them do not end it."""
    batch, k = state.sum_logprob.shape
    logits = logits.reshape(batch * k, -1)
    allowed = allowed_logits(logits, _flatten_beams(state.history), state.step, rules)
    logprobs, tokens = jax.lax.top_k(allowed, k + 1)
    logprobs = logprobs - jax.nn.logsumexp(allowed, axis=-1, keepdims=True)
    sums = (state.sum_logprob.reshape(-1, 1) + logprobs).reshape(batch, -1)
    sums, order = jax.lax.top_k(sums, sums.shape[1])
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), order, axis=1)
    return _Candidates(tokens, order // (k + 1), sums)


def _finish(candidates: _Candidates, ends: jax.Array, state: BeamState) -> Finished:
    """Adds the hypotheses that end to the free slots of windows that are not finished."""
    finished = state.finished
    batch, m = finished.sum_logprob.shape
    slot = finished.n_finished[:, None] + jnp.cumsum(ends, axis=1) - 1
    taken = ends & (slot < m) & ~state.repeated[:, None] & jnp.isfinite(candidates.sum_logprob)
    slot = jnp.where(taken, slot, m)  # out of range: dropped
    windows = jnp.arange(batch)[:, None]
    tokens = state.tokens[windows, candidates.parent]
    return Finished(
        tokens=finished.tokens.at[windows, slot].set(tokens, mode="drop"),
        sum_logprob=finished.sum_logprob.at[windows, slot].set(candidates.sum_logprob, mode="drop"),
        n_tokens=finished.n_tokens.at[windows, slot].set(state.step, mode="drop"),
        n_finished=finished.n_finished + taken.sum(axis=1),
    )


def finalize(state: BeamState, rules: DecodingRules) -> Decoded:
    """Returns the best hypothesis of each window, by its log probability over its length (or its penalty).

    Unfinished ones replace those missing of K.
    """
    batch, k = state.sum_logprob.shape
    finished = state.finished
    replaces = jnp.arange(k) < k - finished.n_finished[:, None]
    sums = jnp.concatenate([finished.sum_logprob, jnp.where(replaces, state.sum_logprob, -jnp.inf)], axis=1)
    n_written = jnp.broadcast_to(state.n_written[:, None], (batch, k))
    n_tokens = jnp.concatenate([finished.n_tokens, n_written], axis=1)
    tokens = jnp.concatenate([finished.tokens, state.tokens], axis=1)
    best = (sums / _penalty(n_tokens, rules)).argmax(axis=1)[:, None]
    return Decoded(
        tokens=jnp.take_along_axis(tokens, best[:, :, None], axis=1)[:, 0],
        n_tokens=jnp.take_along_axis(n_tokens, best, axis=1)[:, 0],
        sum_logprob=jnp.take_along_axis(sums, best, axis=1)[:, 0],
        repeated=state.repeated,
    )


def _penalty(n_tokens: jax.Array, rules: DecodingRules) -> jax.Array:
    """Returns the divisor of a hypothesis's log probability (`MaximumLikelihoodRanker`)."""
    if rules.length_penalty is None:
        return jnp.maximum(n_tokens, 1).astype(jnp.float32)
    penalty: jax.Array = ((5 + n_tokens) / 6) ** rules.length_penalty
    return penalty
