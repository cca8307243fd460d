"""Rows of a running batch: each decodes a window of its own, from its own first token on.

A row begins with its prefix: the start of the transcript, the language, the task. These tokens take steps of
the loop like those that are written, so a row can begin while others are in the middle of their text, and no
row depends on another (continuous batching; Yu et al., "Orca", 2022). Where previous text stands before the
prefix, a first step runs the start of the transcript without it, to detect the language from the audio alone,
as `detect_language` of `whisper/decoding.py` does. B is rows, L the maximum number of tokens written, P the
slots for previous text.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.cache_sizes import MAX_PREFIX
from model.rules import DecodingRules, Step

DETECT_LANGUAGE = -1
UNKNOWN_TOKEN = 0  # stands in a prefix for the language that is yet to be detected


class RowInput(NamedTuple):
    """Input of the decoder for one window, besides its audio.

    Attributes:
        prefix: int32[MAX_PREFIX], tokens from the start of the transcript on, padded; `UNKNOWN_TOKEN` for a
            language to be detected.
        n_prefix: int32, tokens of it.
        language: int32, index into `DecodingRules.language_ids`, or `DETECT_LANGUAGE`.
        timestamps: bool, whether times are written.
        last_start: int32, id of the latest timestamp at which a segment may begin.
        last_time: int32, id of the latest timestamp.
        temperature: float32; 0 takes the most probable token, above it is sampled.
        uniforms: float32[N, L] in [0, 1), one for the sampling of each token of N hypotheses; N is 1 but for
            `model.best_of`.
        prompt: int32[P], previous text, `<|startofprev|>` included, padded at its end; P may be 0.
        n_prompt: int32, tokens of it.
        n_positions: int32, positions of the encoded audio.
    """

    prefix: jax.Array
    n_prefix: jax.Array
    language: jax.Array
    timestamps: jax.Array
    last_start: jax.Array
    last_time: jax.Array
    temperature: jax.Array
    uniforms: jax.Array
    prompt: jax.Array
    n_prompt: jax.Array
    n_positions: jax.Array


class Start(NamedTuple):
    """Language and no-speech probability of a window, from the first token, the start of the transcript.

    Attributes:
        no_speech_prob: float32[B].
        language: int32[B], index into `DecodingRules.language_ids`; zeros for English-only models.
        language_logprobs: float32[B, n_languages], natural log of the posteriors.
    """

    no_speech_prob: jax.Array
    language: jax.Array
    language_logprobs: jax.Array


class Rows(NamedTuple):
    """How far each row is.

    `n_run` is the number of tokens that the decoder has run, prompt aside: it is also the index of the token
    to be run next. It is -1 before the step that detects the language without the prompt. Fields without a
    comment are those of `RowInput`, with a first axis of rows.
    """

    is_active: jax.Array  # bool[B]: its window is not finished
    n_run: jax.Array  # int32[B]
    prompt_slots: jax.Array  # bool[B, P]: the slots that hold the prompt
    prefix: jax.Array
    n_prefix: jax.Array
    n_prompt: jax.Array
    n_positions: jax.Array
    timestamps: jax.Array
    last_start: jax.Array
    last_time: jax.Array
    start: Start

    @property
    def n_before(self) -> int:
        """P, the slots for previous text."""
        return int(self.prompt_slots.shape[1])

    @property
    def token_index(self) -> jax.Array:
        """Index of the token to be run next, int32[B]: 0 for the start of the transcript, both times."""
        return jnp.maximum(self.n_run, 0)

    @property
    def position(self) -> jax.Array:
        """Text position of the token to be run next, int32[B]."""
        return jnp.where(self.n_run < 0, 0, self.n_prompt + self.n_run)

    @property
    def attended_prompt(self) -> jax.Array:
        """The slots for previous text that the token to be run next attends to, bool[B, P]."""
        return self.prompt_slots & (self.n_run >= 0)[:, None]

    @property
    def next_of_prefix(self) -> jax.Array:
        """The token of the prefix after the one that is run, int32[B]; arbitrary behind the prefix."""
        number = jnp.minimum(self.n_run + 1, MAX_PREFIX - 1)
        return jnp.take_along_axis(self.prefix, number[:, None], axis=1)[:, 0]

    def after_step(self, is_over: jax.Array) -> Rows:
        """Returns the rows after one step; those of `is_over` bool[B] have finished with it."""
        return self._replace(is_active=self.is_active & ~is_over, n_run=self.n_run + self.is_active)


class Written(NamedTuple):
    """The tokens written in each row, and what its start showed.

    Attributes:
        is_active: bool[B], whether more is to be written.
        tokens: int32[B, L], padded with the end of text.
        n_tokens: int32[B], tokens before the end of text.
        sum_logprob: float32[B], natural log, the end of text included.
        repeated: bool[B], whether decoding was stopped because the text repeated itself.
        start: see `Start`.
    """

    is_active: jax.Array
    tokens: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    repeated: jax.Array
    start: Start


def new_row(row: RowInput, rules: DecodingRules) -> Rows:
    """Returns a window's row before its first token, as rows of one."""
    n_languages = len(rules.language_ids)
    start = Start(jnp.zeros(()), jnp.maximum(row.language, 0), jnp.zeros(n_languages))
    given = (
        row.prefix,
        row.n_prefix,
        row.n_prompt,
        row.n_positions,
        row.timestamps,
        row.last_start,
        row.last_time,
    )
    prompt_slots = jnp.arange(row.prompt.shape[0]) < row.n_prompt
    detects_first = (row.n_prompt > 0) & bool(rules.language_ids)
    rows = Rows(jnp.ones((), bool), -detects_first.astype(jnp.int32), prompt_slots, *given, start)
    with_axis: Rows = jax.tree.map(lambda x: x[None], rows)
    return with_axis


def next_step(rows: Rows) -> Step:
    """Returns the token after the one that is run; none is written within the prefix."""
    return Step(rows.n_run + 1 - rows.n_prefix, rows.timestamps, rows.last_start, rows.last_time)


def with_start(rows: Rows, logits: jax.Array, rules: DecodingRules) -> Rows:
    """Returns rows with languages and no-speech probabilities of those that run their first token.

    Args:
        rows: the rows.
        logits: float32[B, V] of the token after the one that is run.
        rules: the decoding rules.
    """
    is_first = rows.is_active & (rows.n_run <= 0)

    def observed() -> Rows:
        no_speech = jax.nn.softmax(logits, axis=-1)[:, rules.special.no_speech]
        start = rows.start._replace(no_speech_prob=jnp.where(is_first, no_speech, rows.start.no_speech_prob))
        with_no_speech = rows._replace(start=start)
        return _with_language(with_no_speech, logits, rules) if rules.language_ids else with_no_speech

    updated: Rows = jax.lax.cond(is_first.any(), observed, lambda: rows)
    return updated


def _with_language(rows: Rows, logits: jax.Array, rules: DecodingRules) -> Rows:
    """Returns rows with the languages of those that run the start of the transcript without a prompt."""
    is_alone = rows.is_active & ((rows.n_run < 0) | ((rows.n_run == 0) & (rows.n_prompt == 0)))
    # As `detect_language` of `whisper/decoding.py`.
    logprobs = jax.nn.log_softmax(logits[:, np.asarray(rules.language_ids)], axis=-1)
    is_detected = is_alone & (rows.prefix[:, 1] == UNKNOWN_TOKEN)
    language = jnp.where(is_detected, logprobs.argmax(axis=-1), rows.start.language).astype(jnp.int32)
    token = jnp.asarray(rules.language_ids, jnp.int32)[language]
    logprobs = jnp.where(is_alone[:, None], logprobs, rows.start.language_logprobs)
    return rows._replace(
        start=rows.start._replace(language=language, language_logprobs=logprobs),
        prefix=rows.prefix.at[:, 1].set(jnp.where(is_detected, token, rows.prefix[:, 1])),
    )
