"""Beam search, as `BeamSearchDecoder` of `whisper/decoding.py` has it; its face is that of `model.sampling`.

Each window keeps its K likeliest unfinished sequences. Of all their continuations, those that end and are
likelier than the K-th that goes on are finished sequences; a window is done when `patience` times K have
finished (Kasai et al., 2022). B is windows, K `beam_size`, M finished sequences that are kept, L
the most tokens that may be written.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from model.network import AudioMemory, Decoder, TextCaches
from model.prefill import Asked, Begun, Opening, Written, begin, first_step, padding_of
from model.repetition import LoopState, follow, is_looping, no_loop
from model.rules import DecodingRules, History, allowed_logits, no_history, remember

Parts = TypeVar("Parts", History, LoopState)


class Finished(NamedTuple):
    """Sequences that have ended; their log probabilities include the end of the text."""

    tokens: jax.Array  # int32[B, M, L]
    sum_logprob: jax.Array  # float32[B, M], minus infinity where there is none yet
    n_tokens: jax.Array  # int32[B, M]
    n_finished: jax.Array  # int32[B]


class Search(NamedTuple):
    """State of the search; `step` tokens have been written. Sequences of a window are the likeliest first."""

    step: jax.Array
    tokens: jax.Array  # int32[B, K, L]
    last: jax.Array  # int32[B, K]
    sum_logprob: jax.Array  # float32[B, K]
    history: History  # of [B, K] each
    loops: LoopState  # of [B, K, any] each
    looped: jax.Array  # bool[B]
    n_written: jax.Array  # int32[B]: fewer than `step` once the window is done
    finished: Finished
    origin: jax.Array  # int32[B, K, L]: the sequence that each token was written for; -1 if not yet run
    n_padding: jax.Array  # int32[B]: slots at the beginning of the caches that hold nothing
    caches: TextCaches


class _Candidates(NamedTuple):
    """Continuations of a window's sequences, [B, C] each, the likeliest first; `parent` is 0 to K - 1."""

    token: jax.Array
    parent: jax.Array
    sum_logprob: jax.Array


def start(
    decoder: Decoder, memory: AudioMemory, asked: Asked, rules: DecodingRules
) -> tuple[Opening, Search]:
    """Reads the prompts and writes the first token of each sequence.

    Args: see `model.prefill.begin`; the temperatures are not looked at.
    """
    begun = begin(decoder, memory, asked, rules, n_sequences=rules.beam_size)
    first = jnp.repeat(begun.logits[:, None], rules.beam_size, axis=1)
    return begun.opening, _write(first, _start(begun, asked, rules), rules)


def advance(
    decoder: Decoder, memory: AudioMemory, state: Search, rules: DecodingRules, *, n_left: int = 0
) -> Search:
    """Writes on, until no more than `n_left` windows are unfinished."""
    k = rules.beam_size
    n_before = state.caches[0].key.shape[2] - k * rules.max_new_tokens

    def goes_on(state: Search) -> jax.Array:
        return (~is_finished(state, rules)).sum() > n_left

    def write_next(state: Search) -> Search:
        place = state.step - 1  # of the last token, among those that were written
        origin = state.origin.at[:, :, place].set(jnp.arange(k))
        mask = _visible(origin, state.n_padding, n_before, rules)
        places = (n_before + place - state.n_padding)[:, None]
        slot = n_before + place * k
        logits, caches = decoder.branch(state.last, slot, places, mask, state.caches, memory)
        return _write(logits, state._replace(origin=origin, caches=caches), rules)

    advanced: Search = jax.lax.while_loop(goes_on, write_next, state)
    return advanced


def is_finished(state: Search, rules: DecodingRules) -> jax.Array:
    """Which windows nothing more is looked for, bool[B]."""
    return _is_done(state, rules) | (state.step >= rules.max_new_tokens)


def _visible(origin: jax.Array, n_padding: jax.Array, n_before: int, rules: DecodingRules) -> jax.Array:
    """Which slots of the caches each sequence is made of, bool[B, K, n_before + K * L].

    A sequence's token of each step is in the slot of the sequence that it was written for then. So when
    sequences fork, their caches are not copied, but who is made of what is.
    """
    batch, k, _ = origin.shape
    written = (origin[..., None] == jnp.arange(k)).reshape(batch, k, -1)
    prompt = jnp.arange(n_before) >= n_padding[:, None, None]
    return jnp.concatenate([jnp.broadcast_to(prompt, (batch, k, n_before)), written], axis=-1)


def n_kept(rules: DecodingRules) -> int:
    """M: how many finished sequences end the search of a window."""
    return max(1, round(rules.beam_size * rules.patience))


def _start(begun: Begun, asked: Asked, rules: DecodingRules) -> Search:
    batch, k, m = begun.logits.shape[0], rules.beam_size, n_kept(rules)
    end, n_most = rules.special.end_of_text, rules.max_new_tokens
    padding = padding_of(asked)
    return Search(
        step=first_step(),
        tokens=jnp.full((batch, k, n_most), end, jnp.int32),
        last=jnp.zeros((batch, k), jnp.int32),
        # All sequences are still the same: one of them goes on.
        sum_logprob=jnp.where(jnp.arange(k) == 0, 0.0, -jnp.inf) + jnp.zeros((batch, 1)),
        history=_apart(no_history(batch * k), k),
        loops=_apart(no_loop(batch * k), k),
        looped=jnp.zeros(batch, bool),
        n_written=jnp.zeros(batch, jnp.int32),
        finished=Finished(
            tokens=jnp.full((batch, m, n_most), end, jnp.int32),
            sum_logprob=jnp.full((batch, m), -jnp.inf),
            n_tokens=jnp.zeros((batch, m), jnp.int32),
            n_finished=jnp.where(asked.wanted, 0, m),
        ),
        origin=jnp.full((batch, k, n_most), -1),
        n_padding=jnp.zeros(batch, jnp.int32) if padding is None else padding,
        caches=begun.caches,
    )


def _is_done(state: Search, rules: DecodingRules) -> jax.Array:
    return state.looped | (state.finished.n_finished >= n_kept(rules))


def _write(logits: jax.Array, state: Search, rules: DecodingRules) -> Search:
    """Writes one token of each sequence."""
    candidates = _continue(logits, state, rules)
    ends = candidates.token == rules.special.end_of_text
    n_going_on = jnp.cumsum(~ends, axis=1) - ~ends
    finished = _finish(candidates, ends & (n_going_on < rules.beam_size), state, rules)
    # The first K that go on: no more than one continuation of a sequence ends it, so there are K.
    order = jnp.argsort(jnp.where(ends, ends.shape[1], 0), axis=1, stable=True)[:, : rules.beam_size]
    token, parent, sum_logprob = (jnp.take_along_axis(x, order, axis=1) for x in candidates)
    done = _is_done(state, rules)
    parent = jnp.where(done[:, None], jnp.arange(rules.beam_size), parent)  # what is done stays as it is
    tokens, origin, history, loops = jax.tree.map(
        lambda x: x[jnp.arange(len(parent))[:, None], parent],
        (state.tokens, state.origin, state.history, state.loops),
    )
    flat = token.reshape(-1)
    loops = follow(_together(loops), flat, flat < rules.special.end_of_text)
    history = remember(_together(history), flat, state.step, rules)
    # One sequence in circles may still lose; the likeliest in circles will not.
    caught = is_looping(loops).reshape(parent.shape)[:, 0]
    return Search(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_slice(tokens, token[:, :, None], (0, 0, state.step)),
        last=token,
        sum_logprob=jnp.where(done[:, None], state.sum_logprob, sum_logprob),
        history=_apart(history, rules.beam_size),
        loops=_apart(loops, rules.beam_size),
        looped=state.looped | (caught & ~done),
        n_written=state.n_written + ~done,
        finished=finished,
        origin=origin,
        n_padding=state.n_padding,
        caches=state.caches,
    )


def _together(parts: Parts) -> Parts:
    """[B, K, any] as [B * K, any] each."""
    together: Parts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)
    return together


def _apart(parts: Parts, k: int) -> Parts:
    """[B * K, any] as [B, K, any] each."""
    apart: Parts = jax.tree.map(lambda x: x.reshape(-1, k, *x.shape[1:]), parts)
    return apart


def _continue(logits: jax.Array, state: Search, rules: DecodingRules) -> _Candidates:
    """The likeliest K + 1 continuations of each sequence: at least K of them go on."""
    batch, k = state.sum_logprob.shape
    logits = logits.reshape(batch * k, -1)
    allowed = allowed_logits(logits, _together(state.history), state.step, rules)
    logprobs, tokens = jax.lax.top_k(allowed, k + 1)
    logprobs = logprobs - jax.nn.logsumexp(allowed, axis=-1, keepdims=True)
    sums = (state.sum_logprob.reshape(-1, 1) + logprobs).reshape(batch, -1)
    sums, order = jax.lax.top_k(sums, sums.shape[1])
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), order, axis=1)
    return _Candidates(tokens, order // (k + 1), sums)


def _finish(candidates: _Candidates, ends: jax.Array, state: Search, rules: DecodingRules) -> Finished:
    """Adds the sequences that end, as long as there is room; a window that is done has none."""
    finished = state.finished
    batch, m = finished.sum_logprob.shape
    slot = finished.n_finished[:, None] + jnp.cumsum(ends, axis=1) - 1
    taken = ends & (slot < m) & ~state.looped[:, None] & jnp.isfinite(candidates.sum_logprob)
    slot = jnp.where(taken, slot, m)  # out of range: dropped
    windows = jnp.arange(batch)[:, None]
    tokens = state.tokens[windows, candidates.parent]
    return Finished(
        tokens=finished.tokens.at[windows, slot].set(tokens, mode="drop"),
        sum_logprob=finished.sum_logprob.at[windows, slot].set(candidates.sum_logprob, mode="drop"),
        n_tokens=finished.n_tokens.at[windows, slot].set(state.step, mode="drop"),
        n_finished=finished.n_finished + taken.sum(axis=1),
    )


def written(state: Search, rules: DecodingRules) -> Written:
    """The best sequence of each window, by its log probability over its length (or its penalty).

    Unfinished ones stand in for those of K that are missing.
    """
    batch, k = state.sum_logprob.shape
    finished = state.finished
    stands_in = jnp.arange(k) < k - finished.n_finished[:, None]
    sums = jnp.concatenate([finished.sum_logprob, jnp.where(stands_in, state.sum_logprob, -jnp.inf)], axis=1)
    n_written = jnp.broadcast_to(state.n_written[:, None], (batch, k))
    n_tokens = jnp.concatenate([finished.n_tokens, n_written], axis=1)
    tokens = jnp.concatenate([finished.tokens, state.tokens], axis=1)
    best = (sums / _penalty(n_tokens, rules)).argmax(axis=1)[:, None]
    return Written(
        tokens=jnp.take_along_axis(tokens, best[:, :, None], axis=1)[:, 0],
        n_tokens=jnp.take_along_axis(n_tokens, best, axis=1)[:, 0],
        sum_logprob=jnp.take_along_axis(sums, best, axis=1)[:, 0],
        looped=state.looped,
    )


def _penalty(n_tokens: jax.Array, rules: DecodingRules) -> jax.Array:
    """What a sequence's log probability is divided by (`MaximumLikelihoodRanker`)."""
    if rules.length_penalty is None:
        return jnp.maximum(n_tokens, 1).astype(jnp.float32)
    penalty: jax.Array = ((5 + n_tokens) / 6) ** rules.length_penalty
    return penalty
