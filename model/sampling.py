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
import numpy as np

from model.network import AudioMemory, Decoder, TextCaches
from model.repetition import LoopState, follow, is_looping, no_loop
from model.rules import DecodingRules, History, allowed_logits, best_token, no_history, remember

DETECT_LANGUAGE = -1


class Asked(NamedTuple):
    """What is asked of each window of a batch.

    Attributes:
        wanted: bool[B]; the others pad the batch, and nothing is written for them.
        language: int32[B], index into `DecodingRules.language_ids`, or `DETECT_LANGUAGE`.
        temperature: float32[B]; 0 takes the most probable token, above it is sampled.
        uniforms: float32[B, L] in [0, 1): what each token is sampled with.
        prompt: int32[B, P], the text before, `<|startofprev|>` included; right-aligned, P may be 0.
        n_prompt: int32[B], tokens of it.
    """

    wanted: jax.Array
    language: jax.Array
    temperature: jax.Array
    uniforms: jax.Array
    prompt: jax.Array
    n_prompt: jax.Array


class Opening(NamedTuple):
    """What is known of each window of a batch before anything is written.

    Attributes:
        no_speech_prob: float32[B].
        language: int32[B], index into `DecodingRules.language_ids`; zeros for English-only models.
        language_logprobs: float32[B, n_languages], natural log of the posteriors.
    """

    no_speech_prob: jax.Array
    language: jax.Array
    language_logprobs: jax.Array


class Written(NamedTuple):
    """What was written for each window of a batch.

    Attributes:
        tokens: int32[B, L], the end of text and all after it included.
        n_tokens: int32[B], tokens before the end of text.
        sum_logprob: float32[B], natural log, the end of text included.
        looped: bool[B], stopped because it went round in circles.
    """

    tokens: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    looped: jax.Array


class Begun(NamedTuple):
    """The decoder with its prompt read.

    Attributes:
        opening: what came out of it.
        logits: float32[B, V] of the first token to be written.
        caches: of the prompt, with room for what is to be written.
    """

    opening: Opening
    logits: jax.Array
    caches: TextCaches


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


def begin(
    decoder: Decoder, memory: AudioMemory, asked: Asked, rules: DecodingRules, n_sequences: int = 1
) -> Begun:
    """Reads the prompt of each window, and with it finds its language and whether anybody speaks.

    Args:
        decoder: the network.
        memory: what the decoder remembers of the audio.
        asked: of each window.
        rules: what may be written.
        n_sequences: of each window, to have room for in the caches.
    """
    batch, n_before = asked.prompt.shape
    caches = decoder.init_caches(batch, n_before + rules.prompt_length + n_sequences * rules.max_new_tokens)
    padding = padding_of(asked)
    start = jnp.full((batch, 1), rules.special.start_of_transcript, jnp.int32)
    logits, caches = decoder(jnp.concatenate([asked.prompt, start], axis=1), 0, caches, memory, padding)
    no_speech_prob = jax.nn.softmax(logits, axis=-1)[:, rules.special.no_speech]
    language, language_logprobs = _detect_language(logits, asked.language, rules)
    rest = _rest_of_prompt(language, rules)
    if rest.shape[1]:
        logits, caches = decoder(rest, n_before + 1, caches, memory, padding)
    return Begun(Opening(no_speech_prob, language, language_logprobs), logits, caches)


def padding_of(asked: Asked) -> jax.Array | None:
    """Slots before each window's prompt, int32[B]; None if nobody has a prompt."""
    n_before = asked.prompt.shape[1]
    return n_before - asked.n_prompt if n_before else None


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


def first_step() -> jax.Array:
    """Zero, of which the compiler knows nothing: else it spends seconds on the masks of the first token."""
    zero: jax.Array = jax.lax.optimization_barrier(jnp.int32(0))
    return zero


def _detect_language(
    logits: jax.Array, language: jax.Array, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """The language given or else the likeliest, and all posteriors (`decoding.py: detect_language`)."""
    if not rules.language_ids:
        return jnp.zeros_like(language), jnp.zeros((language.shape[0], 0), jnp.float32)
    logprobs = jax.nn.log_softmax(logits[:, np.asarray(rules.language_ids)], axis=-1)
    detected = logprobs.argmax(axis=-1).astype(language.dtype)
    return jnp.where(language == DETECT_LANGUAGE, detected, language), logprobs


def _rest_of_prompt(language: jax.Array, rules: DecodingRules) -> jax.Array:
    """The prompt after the start of the transcript, int32[B, prompt_length - 1]."""
    columns = []
    if rules.task_id is not None:
        columns.append(jnp.asarray(rules.language_ids, jnp.int32)[language])
        columns.append(jnp.full_like(language, rules.task_id))
    if not rules.timestamps:
        columns.append(jnp.full_like(language, rules.special.no_timestamps))
    if not columns:
        return jnp.zeros((language.shape[0], 0), jnp.int32)
    return jnp.stack(columns, axis=1)


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
