"""From what is remembered of the audio to ids: prompt, KV caches, and OpenAI's rules.

Each window of a batch is decoded on its own. The loop can be left and entered again, so that windows that
have finished may go (`model.batch_decoder`). Ids and probabilities are those of `whisper/decoding.py` of
openai/whisper (`DecodingTask`, `GreedyDecoder`). B is windows, P the length of the longest prompt in the
batch, L the most tokens that may be written (`max_new_tokens`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.network import AudioMemory, Decoder, TextCaches
from model.prefill import Asked, Opening, Written, begin, first_step, padding_of
from model.repetition import LoopState, follow, is_looping, no_loop
from model.rules import DecodingRules, History, allowed_logits, best_token, no_history, remember


class Loop(NamedTuple):
    """State of the decoding loop; `step` tokens have been written.

    `temperature`, `uniforms` and `n_padding`, slots at the beginning of the caches that hold nothing, are
    what was asked for; `n_padding` is None where nobody has a prompt.
    """

    step: jax.Array
    tokens: jax.Array
    last: jax.Array
    history: History
    loops: LoopState
    looped: jax.Array
    finished: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    temperature: jax.Array
    uniforms: jax.Array
    n_padding: jax.Array | None
    caches: TextCaches


def start(decoder: Decoder, memory: AudioMemory, asked: Asked, rules: DecodingRules) -> tuple[Opening, Loop]:
    """Reads the prompts and writes the first token. Args: see `begin`."""
    begun = begin(decoder, memory, asked, rules)
    return begun.opening, _write(begun.logits, _start_loop(begun.caches, asked, rules), rules)


def advance(
    decoder: Decoder, memory: AudioMemory, loop: Loop, rules: DecodingRules, *, n_left: int = 0
) -> Loop:
    """Writes one token after the other, until no more than `n_left` windows are unfinished."""
    n_before = loop.caches[0].key.shape[2] - rules.max_new_tokens

    def goes_on(loop: Loop) -> jax.Array:
        return (~is_finished(loop, rules)).sum() > n_left

    def write_next(loop: Loop) -> Loop:
        position = n_before + loop.step - 1
        logits, caches = decoder(loop.last[:, None], position, loop.caches, memory, loop.n_padding)
        return _write(logits, loop._replace(caches=caches), rules)

    advanced: Loop = jax.lax.while_loop(goes_on, write_next, loop)
    return advanced


def is_finished(loop: Loop, rules: DecodingRules) -> jax.Array:
    """Which windows nothing more is written for, bool[B]."""
    return loop.finished | (loop.step >= rules.max_new_tokens)


def written(loop: Loop, rules: DecodingRules) -> Written:
    """What there is of each window."""
    del rules  # the face is that of `model.beam_search`
    return Written(loop.tokens, loop.n_tokens, loop.sum_logprob, loop.looped)


def _start_loop(caches: TextCaches, asked: Asked, rules: DecodingRules) -> Loop:
    batch = asked.wanted.shape[0]
    no, zeros = jnp.zeros(batch, bool), jnp.zeros(batch, jnp.int32)
    return Loop(
        step=first_step(),
        tokens=jnp.full((batch, rules.max_new_tokens), rules.special.end_of_text, jnp.int32),
        last=zeros,
        history=no_history(batch),
        loops=no_loop(batch),
        looped=no,
        finished=~asked.wanted,
        n_tokens=zeros,
        sum_logprob=jnp.zeros(batch, jnp.float32),
        temperature=asked.temperature,
        uniforms=asked.uniforms,
        n_padding=padding_of(asked),
        caches=caches,
    )


def _write(logits: jax.Array, loop: Loop, rules: DecodingRules) -> Loop:
    """Writes one token of each unfinished window."""
    token, logprob = _choose(logits, loop, rules)
    end = rules.special.end_of_text
    token = jnp.where(loop.finished, end, token)
    ends = token == end
    loops = follow(loop.loops, token, token < end)
    caught = is_looping(loops) & ~loop.finished
    return loop._replace(
        step=loop.step + 1,
        tokens=jax.lax.dynamic_update_slice(loop.tokens, token[:, None], (0, loop.step)),
        last=token,
        history=remember(loop.history, token, loop.step, rules),
        loops=loops,
        looped=loop.looped | caught,
        finished=loop.finished | ends | caught,
        n_tokens=loop.n_tokens + ~ends,
        sum_logprob=loop.sum_logprob + jnp.where(loop.finished, 0.0, logprob),
    )


def _choose(logits: jax.Array, loop: Loop, rules: DecodingRules) -> tuple[jax.Array, jax.Array]:
    """The next token of each window, by its temperature, and its log probability.

    Sampling goes through the whole vocabulary once more; a batch in which nobody asks for it does without.
    """
    best = best_token(logits, loop.history, loop.step, rules)
    hot = loop.temperature > 0

    def sampled() -> tuple[jax.Array, jax.Array]:
        uniform = jax.lax.dynamic_index_in_dim(loop.uniforms, loop.step, axis=1, keepdims=False)
        allowed = allowed_logits(logits, loop.history, loop.step, rules)
        token, logprob = _sample(allowed, jnp.where(hot, loop.temperature, 1.0), uniform)
        return jnp.where(hot, token, best[0]), jnp.where(hot, logprob, best[1])

    chosen: tuple[jax.Array, jax.Array] = jax.lax.cond(hot.any(), sampled, lambda: best)
    return chosen


def _sample(logits: jax.Array, temperature: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where `uniform` falls in the cumulative probabilities; the log probability is the one at 1.

    By inversion, so that one number from outside decides: the same on every device and in every batch.
    """
    hot = logits / temperature[:, None]
    cumulative = jnp.cumsum(jnp.exp(hot - hot.max(axis=-1, keepdims=True)), axis=-1)
    # Sums in float32 are a little off: the target must be reached, and what is forbidden must not be taken.
    reached = cumulative > uniform[:, None] * (cumulative[:, -1:] * (1 - 1e-6))
    token = (reached & (logits > -jnp.inf)).argmax(axis=-1).astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    return token, chosen - jax.nn.logsumexp(logits, axis=-1)
