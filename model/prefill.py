"""Prefill of the decoder: runs it on the prompts, which also yields languages and no-speech probabilities."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.decoder import CrossKV, Decoder, TextCaches
from model.rules import DecodingRules

DETECT_LANGUAGE = -1


class DecodeInput(NamedTuple):
    """Input of the decoder for a batch of windows, besides their audio.

    Attributes:
        wanted: bool[B]; False for padding of the batch, for which nothing is written.
        language: int32[B], index into `DecodingRules.language_ids`, or `DETECT_LANGUAGE`.
        task: int32[B], id of `<|transcribe|>` or `<|translate|>`; ignored by English-only models.
        temperature: float32[B]; 0 takes the most probable token, above it is sampled.
        uniforms: float32[B, L] in [0, 1), one for the sampling of each token.
        prompt: int32[B, P], previous text, `<|startofprev|>` included; right-aligned, P may be 0.
        n_prompt: int32[B], tokens of it.
    """

    wanted: jax.Array
    language: jax.Array
    task: jax.Array
    temperature: jax.Array
    uniforms: jax.Array
    prompt: jax.Array
    n_prompt: jax.Array


class PrefillResult(NamedTuple):
    """Languages and no-speech probabilities of a batch.

    Attributes:
        no_speech_prob: float32[B].
        language: int32[B], index into `DecodingRules.language_ids`; zeros for English-only models.
        language_logprobs: float32[B, n_languages], natural log of the posteriors.
    """

    no_speech_prob: jax.Array
    language: jax.Array
    language_logprobs: jax.Array


class Decoded(NamedTuple):
    """The tokens written for a batch.

    Attributes:
        tokens: int32[B, L], padded with the end of text.
        n_tokens: int32[B], tokens before the end of text.
        sum_logprob: float32[B], natural log, the end of text included.
        repeated: bool[B], whether decoding was stopped because the text repeated itself.
    """

    tokens: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    repeated: jax.Array


class Prefill(NamedTuple):
    """The state of the decoder after the prompt.

    Attributes:
        result: languages and no-speech probabilities.
        logits: float32[B, V] of the first token to be written.
        caches: self-attention caches of the prompt, with free slots for the tokens to be written.
    """

    result: PrefillResult
    logits: jax.Array
    caches: TextCaches


def prefill(
    decoder: Decoder,
    cross_kv: CrossKV,
    decode_input: DecodeInput,
    rules: DecodingRules,
    n_hypotheses: int = 1,
) -> Prefill:
    """Runs the decoder on each window's prompt, and detects its language and speech on the way.

    Args:
        decoder: the network.
        cross_kv: cross-attention K/V cache of the encoded audio.
        decode_input: input of the decoder, besides the audio.
        rules: the decoding rules.
        n_hypotheses: hypotheses of each window; the caches have slots for all of them.
    """
    batch, n_before = decode_input.prompt.shape
    caches = decoder.init_caches(batch, n_before + rules.prompt_length + n_hypotheses * rules.max_new_tokens)
    padding = padding_of(decode_input)
    start = jnp.full((batch, 1), rules.special.start_of_transcript, jnp.int32)
    logits, caches = decoder(
        jnp.concatenate([decode_input.prompt, start], axis=1), 0, caches, cross_kv, padding
    )
    no_speech_prob = jax.nn.softmax(logits, axis=-1)[:, rules.special.no_speech]
    language, language_logprobs = _detect_language(logits, decode_input.language, rules)
    rest = _rest_of_prompt(language, decode_input.task, rules)
    if rest.shape[1]:
        logits, caches = decoder(rest, n_before + 1, caches, cross_kv, padding)
    return Prefill(PrefillResult(no_speech_prob, language, language_logprobs), logits, caches)


def padding_of(decode_input: DecodeInput) -> jax.Array | None:
    """Returns the number of padding slots before each window's prompt, int32[B]; None without prompts."""
    n_before = decode_input.prompt.shape[1]
    return n_before - decode_input.n_prompt if n_before else None


def first_step() -> jax.Array:
    """Returns zero, opaque to the compiler, which would spend seconds on folding the first token's masks."""
    zero: jax.Array = jax.lax.optimization_barrier(jnp.int32(0))
    return zero


def _detect_language(
    logits: jax.Array, language: jax.Array, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the requested language or else the likeliest, and all log posteriors.

    As `detect_language` of `whisper/decoding.py` of openai/whisper.
    """
    if not rules.language_ids:
        return jnp.zeros_like(language), jnp.zeros((language.shape[0], 0), jnp.float32)
    logprobs = jax.nn.log_softmax(logits[:, np.asarray(rules.language_ids)], axis=-1)
    detected = logprobs.argmax(axis=-1).astype(language.dtype)
    return jnp.where(language == DETECT_LANGUAGE, detected, language), logprobs


def _rest_of_prompt(language: jax.Array, task: jax.Array, rules: DecodingRules) -> jax.Array:
    """Returns the prompt after the start of the transcript, int32[B, prompt_length - 1]."""
    columns = []
    if rules.language_ids:
        columns += [jnp.asarray(rules.language_ids, jnp.int32)[language], task.astype(jnp.int32)]
    if not rules.timestamps:
        columns.append(jnp.full_like(language, rules.special.no_timestamps))
    if not columns:
        return jnp.zeros((language.shape[0], 0), jnp.int32)
    return jnp.stack(columns, axis=1)
