"""Prefill of the decoder: reads the prompts of windows, finds their languages and no-speech probabilities."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.network import AudioMemory, Decoder, TextCaches
from model.rules import DecodingRules

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
