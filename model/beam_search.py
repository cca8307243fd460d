"""Beam search, as `BeamSearchDecoder` of `whisper/decoding.py`; its interface is that of `model.sampling`.

Each window keeps its K likeliest unfinished hypotheses. Of all their continuations, those that end and are
likelier than the K-th that continues are finished hypotheses; a window is done when `patience` times K have
finished (Kasai et al., 2022). B is rows, K `beam_size`, M the finished hypotheses that are kept, L the
maximum number of tokens written, T the same with those of the prefix.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.decoder import CrossKV, Decoder, TextCaches
from model.hypotheses import flatten, score, split
from model.repetition import RepetitionState, initial_repetition, is_repeating, update_repetition
from model.rows import RowInput, Rows, Written, new_row, next_step, with_start
from model.rules import DecodingRules, History, Step, allowed_logits, initial_history, is_text, update_history
from model.text_cache import n_text_tokens, row_slots


class Finished(NamedTuple):
    """Hypotheses that have ended; their log probabilities include the end of the text."""

    tokens: jax.Array  # int32[B, M, L]
    sum_logprob: jax.Array  # float32[B, M], minus infinity in unused slots
    n_tokens: jax.Array  # int32[B, M]
    n_finished: jax.Array  # int32[B]


class BeamState(NamedTuple):
    """State of the search; the hypotheses of a window are sorted, the likeliest first."""

    rows: Rows
    tokens: jax.Array  # int32[B, K, L]
    last: jax.Array  # int32[B, K], the tokens to be run next
    sum_logprob: jax.Array  # float32[B, K]
    history: History  # of arrays [B, K]
    repetition: RepetitionState  # of arrays [B, K, ...]
    repeated: jax.Array  # bool[B]
    n_written: jax.Array  # int32[B], tokens of a hypothesis that has not ended
    finished: Finished
    origin: jax.Array  # int32[B, K, T]: the hypothesis each token was written for; -1 if not yet run
    caches: TextCaches


class _Candidates(NamedTuple):
    """Continuations of a window's hypotheses, [B, C] each, the likeliest first; `parent` is 0 to K - 1."""

    token: jax.Array
    parent: jax.Array
    sum_logprob: jax.Array


def n_hypotheses(rules: DecodingRules) -> int:
    """Returns K, the number of tokens that a row runs in each step."""
    return rules.beam_size


def new_state(row: RowInput, caches: TextCaches, rules: DecodingRules) -> BeamState:
    """Returns the state of a window before its first token, as a batch of one row.

    Args:
        row: what the window asks for; its temperature is ignored.
        caches: self-attention caches of one row, filled with its prompt.
        rules: the decoding rules.
    """
    k, m, n_tokens = rules.beam_size, n_finished_needed(rules), rules.max_new_tokens
    end = rules.special.end_of_text
    return BeamState(
        rows=new_row(row, rules),
        tokens=jnp.full((1, k, n_tokens), end, jnp.int32),
        last=jnp.broadcast_to(row.prefix[0], (1, k)),
        # All hypotheses are still the same: one of them continues.
        sum_logprob=jnp.where(jnp.arange(k) == 0, 0.0, -jnp.inf)[None],
        history=split(initial_history(k), k),
        repetition=split(initial_repetition(k), k),
        repeated=jnp.zeros(1, bool),
        n_written=jnp.zeros(1, jnp.int32),
        finished=Finished(
            tokens=jnp.full((1, m, n_tokens), end, jnp.int32),
            sum_logprob=jnp.full((1, m), -jnp.inf),
            n_tokens=jnp.zeros((1, m), jnp.int32),
            n_finished=jnp.zeros(1, jnp.int32),
        ),
        origin=jnp.full((1, k, n_text_tokens(rules)), -1),
        caches=caches,
    )


def write_next(decoder: Decoder, cross_kv: CrossKV, state: BeamState, rules: DecodingRules) -> BeamState:
    """Runs the last tokens of each window's hypotheses, and writes the next ones.

    A hypothesis's token of each step is in the slot of the hypothesis that it was written for at that step.
    So when hypotheses fork, `origin` is copied and their caches are not.
    """
    rows, k = state.rows, rules.beam_size
    is_now = jnp.arange(state.origin.shape[-1]) == rows.token_index[:, None, None]
    origin = jnp.where(is_now, jnp.arange(k)[:, None], state.origin)
    slots = row_slots(state.caches, cross_kv, rows, rules, origin)
    states, caches = decoder(state.last, rows.position[:, None], slots, state.caches, cross_kv)
    logits = decoder.logits(states)
    rows = with_start(rows, logits[:, 0], rules)
    return _write_tokens(logits, state._replace(rows=rows, origin=origin, caches=caches), rules)


def n_finished_needed(rules: DecodingRules) -> int:
    """Returns M, the number of finished hypotheses that ends the search of a window."""
    return max(1, round(rules.beam_size * rules.patience))


def _write_tokens(logits: jax.Array, state: BeamState, rules: DecodingRules) -> BeamState:
    """Writes one token of each hypothesis of the rows that are active and behind their prefix."""
    rows, step, k = state.rows, next_step(state.rows), rules.beam_size
    writes = rows.is_active & (step.n_written >= 0)
    candidates = _continue(logits, state, rules)
    ends = candidates.token == rules.special.end_of_text
    n_continuing = jnp.cumsum(~ends, axis=1) - ~ends
    finished = _finish(candidates, ends & (n_continuing < k) & writes[:, None], state, step)
    # The first K that continue: at most one continuation of a hypothesis ends it, so there are K.
    order = jnp.argsort(jnp.where(ends, ends.shape[1], 0), axis=1, stable=True)[:, :k]
    token, parent, sum_logprob = (jnp.take_along_axis(x, order, axis=1) for x in candidates)
    parent = jnp.where(writes[:, None], parent, jnp.arange(k))
    tokens, origin, history, repetition = jax.tree.map(
        lambda x: x[jnp.arange(len(parent))[:, None], parent],
        (state.tokens, state.origin, state.history, state.repetition),
    )
    flat = token.reshape(-1)
    is_written_text = is_text(flat, rules.special) & jnp.repeat(writes, k)
    repetition = update_repetition(flatten(repetition), flat, is_written_text)
    history = update_history(flatten(history), flat, _of_each_beam(step, k), rules)
    # Of the hypotheses that repeat themselves only the likeliest counts: another may still lose.
    repeated = state.repeated | (is_repeating(repetition).reshape(parent.shape)[:, 0] & writes)
    is_here = (jnp.arange(rules.max_new_tokens) == step.n_written[:, None]) & writes[:, None]
    is_done = repeated | (finished.n_finished >= n_finished_needed(rules))
    is_over = writes & (is_done | (step.n_written == rules.max_new_tokens - 1))
    last = jnp.where(rows.is_active[:, None], rows.next_of_prefix[:, None], state.last)
    return BeamState(
        rows=rows.after_step(is_over),
        tokens=jnp.where(is_here[:, None], token[:, :, None], tokens),
        last=jnp.where(writes[:, None], token, last),
        sum_logprob=jnp.where(writes[:, None], sum_logprob, state.sum_logprob),
        history=split(history, k),
        repetition=split(repetition, k),
        repeated=repeated,
        n_written=state.n_written + writes,
        finished=finished,
        origin=origin,
        caches=state.caches,
    )


def _of_each_beam(step: Step, k: int) -> Step:
    """Repeats arrays [B] to [B * K]."""
    return Step(*(jnp.repeat(x, k) for x in step))


def _continue(logits: jax.Array, state: BeamState, rules: DecodingRules) -> _Candidates:
    """Returns the likeliest K + 1 continuations of each hypothesis; at least K of them do not end it."""
    batch, k = state.sum_logprob.shape
    logits = logits.reshape(batch * k, -1)
    step = _of_each_beam(next_step(state.rows), k)
    allowed = allowed_logits(logits, flatten(state.history), step, rules)
    logprobs, tokens = jax.lax.top_k(allowed, k + 1)
    logprobs = logprobs - jax.nn.logsumexp(allowed, axis=-1, keepdims=True)
    sums = (state.sum_logprob.reshape(-1, 1) + logprobs).reshape(batch, -1)
    sums, order = jax.lax.top_k(sums, sums.shape[1])
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), order, axis=1)
    return _Candidates(tokens, order // (k + 1), sums)


def _finish(candidates: _Candidates, ends: jax.Array, state: BeamState, step: Step) -> Finished:
    """Adds the hypotheses that end, bool[B, C], to the free slots of their windows."""
    finished = state.finished
    batch, m = finished.sum_logprob.shape
    slot = finished.n_finished[:, None] + jnp.cumsum(ends, axis=1) - 1
    taken = ends & (slot < m) & jnp.isfinite(candidates.sum_logprob)
    slot = jnp.where(taken, slot, m)  # out of range: dropped
    windows = jnp.arange(batch)[:, None]
    tokens = state.tokens[windows, candidates.parent]
    return Finished(
        tokens=finished.tokens.at[windows, slot].set(tokens, mode="drop"),
        sum_logprob=finished.sum_logprob.at[windows, slot].set(candidates.sum_logprob, mode="drop"),
        n_tokens=finished.n_tokens.at[windows, slot].set(step.n_written[:, None], mode="drop"),
        n_finished=finished.n_finished + taken.sum(axis=1),
    )


def written(state: BeamState, rules: DecodingRules) -> Written:
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
    best = score(sums, n_tokens, rules).argmax(axis=1)[:, None]
    return Written(
        is_active=state.rows.is_active,
        tokens=jnp.take_along_axis(tokens, best[:, :, None], axis=1)[:, 0],
        n_tokens=jnp.take_along_axis(n_tokens, best, axis=1)[:, 0],
        sum_logprob=jnp.take_along_axis(sums, best, axis=1)[:, 0],
        repeated=state.repeated,
        start=state.rows.start,
    )
