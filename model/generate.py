"""From encoded audio to ids, in one compiled program: prompt, KV caches, and OpenAI's rules.

Each window of a batch is decoded on its own; the loop ends when the last one has. Ids, probabilities and
rules are those of `whisper/decoding.py` of openai/whisper (`DecodingTask`, `ApplyTimestampRules`,
`SuppressBlank`, `SuppressTokens`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.config import MAX_TEXT_POSITIONS, DecodingConfig
from model.network import Decoder, LayerCache
from model.tokens import SpecialTokens

MAX_NEW_TOKENS = MAX_TEXT_POSITIONS // 2  # 224, `sample_len`: the other half is for prompts
MAX_INITIAL_TIMESTAMP = 50  # steps of 20 ms: the first segment starts in the first second
DETECT_LANGUAGE = -1


@dataclass(frozen=True)
class DecodingRules:
    """What shapes the program: everything here is compiled in.

    Attributes:
        special: the tokenizer's special ids.
        suppress_ids: never written.
        begin_suppress_ids: not written as the first token.
        language_ids: what may follow the start of the transcript; empty for English-only models.
        task_id: `<|transcribe|>` or `<|translate|>`; None for English-only models.
        timestamps: whether the model writes times.
    """

    special: SpecialTokens
    suppress_ids: tuple[int, ...]
    begin_suppress_ids: tuple[int, ...]
    language_ids: tuple[int, ...]
    task_id: int | None
    timestamps: bool

    @property
    def prompt_length(self) -> int:
        """Tokens before the first that the model writes."""
        return 1 + 2 * (self.task_id is not None) + (not self.timestamps)


def make_rules(
    special: SpecialTokens, decoding: DecodingConfig, *, multilingual: bool, task: str, timestamps: bool
) -> DecodingRules:
    """The rules for a checkpoint and a task (`transcribe` or `translate`)."""
    never = {
        special.transcribe,
        special.translate,
        special.start_of_transcript,
        special.start_of_previous,
        special.start_of_lm,
        special.no_speech,
        special.no_timestamps,
    }
    task_id = special.translate if task == "translate" else special.transcribe
    return DecodingRules(
        special=special,
        suppress_ids=tuple(sorted(never | set(decoding.suppress_ids))),
        begin_suppress_ids=decoding.begin_suppress_ids,
        language_ids=tuple(special.languages.values()) if multilingual else (),
        task_id=task_id if multilingual else None,
        timestamps=timestamps,
    )


class Generated(NamedTuple):
    """What was written for each window of a batch.

    Attributes:
        tokens: int32[B, 224], the end of text and all after it included.
        n_tokens: int32[B], tokens before the end of text.
        sum_logprob: float32[B], natural log, the end of text included.
        no_speech_prob: float32[B].
        language: int32[B], index into `DecodingRules.language_ids`; zeros for English-only models.
        language_logprobs: float32[B, n_languages], natural log of the posteriors.
    """

    tokens: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    no_speech_prob: jax.Array
    language: jax.Array
    language_logprobs: jax.Array


class _Loop(NamedTuple):
    """State of the decoding loop; `step` tokens have been written."""

    step: jax.Array
    tokens: jax.Array
    last: jax.Array
    last_is_timestamp: jax.Array
    before_is_timestamp: jax.Array
    last_timestamp: jax.Array
    finished: jax.Array
    n_tokens: jax.Array
    sum_logprob: jax.Array
    caches: tuple[LayerCache, ...]


def generate(decoder: Decoder, encoded: jax.Array, language: jax.Array, rules: DecodingRules) -> Generated:
    """Writes the most probable token, over and over, until every window has ended.

    Args:
        decoder: the network.
        encoded: the encoder's output, [B, 1500, D].
        language: int32[B], index into `rules.language_ids`, or `DETECT_LANGUAGE`.
        rules: what may be written.
    """
    caches = decoder.init_caches(encoded, rules.prompt_length + MAX_NEW_TOKENS)
    start = jnp.full((encoded.shape[0], 1), rules.special.start_of_transcript, jnp.int32)
    logits, caches = decoder(start, 0, caches)
    no_speech_prob = jax.nn.softmax(logits, axis=-1)[:, rules.special.no_speech]
    language, language_logprobs = _detect_language(logits, language, rules)
    rest = _rest_of_prompt(language, rules)
    if rest.shape[1]:
        logits, caches = decoder(rest, 1, caches)
    loop = _write(logits, _start_loop(caches, encoded.shape[0], rules), rules)

    def unfinished(loop: _Loop) -> jax.Array:
        return (loop.step < MAX_NEW_TOKENS) & ~loop.finished.all()

    def write_next(loop: _Loop) -> _Loop:
        position = rules.prompt_length + loop.step - 1
        logits, caches = decoder(loop.last[:, None], position, loop.caches)
        return _write(logits, loop._replace(caches=caches), rules)

    loop = jax.lax.while_loop(unfinished, write_next, loop)
    return Generated(
        loop.tokens, loop.n_tokens, loop.sum_logprob, no_speech_prob, language, language_logprobs
    )


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


def _start_loop(caches: tuple[LayerCache, ...], batch: int, rules: DecodingRules) -> _Loop:
    no, zeros = jnp.zeros(batch, bool), jnp.zeros(batch, jnp.int32)
    end = rules.special.end_of_text
    return _Loop(
        step=jnp.int32(0),
        tokens=jnp.full((batch, MAX_NEW_TOKENS), end, jnp.int32),
        last=zeros,
        last_is_timestamp=no,
        # One token counts as a pair, so that the first timestamp may be followed by text.
        before_is_timestamp=jnp.ones(batch, bool),
        last_timestamp=zeros,
        finished=no,
        n_tokens=zeros,
        sum_logprob=jnp.zeros(batch, jnp.float32),
        caches=caches,
    )


def _write(logits: jax.Array, loop: _Loop, rules: DecodingRules) -> _Loop:
    """Writes one token of each unfinished window."""
    token, logprob = _choose(logits, loop, rules)
    end, begin = rules.special.end_of_text, rules.special.timestamp_begin
    token = jnp.where(loop.finished, end, token)
    is_timestamp = token >= begin
    ends = token == end
    return loop._replace(
        step=loop.step + 1,
        tokens=jax.lax.dynamic_update_slice(loop.tokens, token[:, None], (0, loop.step)),
        last=token,
        last_is_timestamp=is_timestamp,
        before_is_timestamp=jnp.where(loop.step == 0, True, loop.last_is_timestamp),
        last_timestamp=jnp.where(is_timestamp, token, loop.last_timestamp),
        finished=loop.finished | ends,
        n_tokens=loop.n_tokens + ~ends,
        sum_logprob=loop.sum_logprob + jnp.where(loop.finished, 0.0, logprob),
    )


def _choose(logits: jax.Array, loop: _Loop, rules: DecodingRules) -> tuple[jax.Array, jax.Array]:
    """The most probable token that the rules allow, and its log probability among those they allow.

    The ids fall in two ranges, below and from `timestamp_begin` on, which are weighed against each other:
    where the timestamps together are likelier than any one other token, only they stay
    (`ApplyTimestampRules`).
    """
    begin = rules.special.timestamp_begin
    text = jnp.where(_allowed_text(loop, rules), logits[:, :begin], -jnp.inf)
    text_sum = jax.nn.logsumexp(text, axis=-1)
    text_best, text_logit = text.argmax(axis=-1).astype(jnp.int32), text.max(axis=-1)
    if not rules.timestamps:
        return text_best, text_logit - text_sum
    times = jnp.where(_allowed_times(loop, rules, logits.shape[-1]), logits[:, begin:], -jnp.inf)
    times_sum = jax.nn.logsumexp(times, axis=-1)
    time_best, time_logit = times.argmax(axis=-1).astype(jnp.int32) + begin, times.max(axis=-1)
    only_times = times_sum > text_logit
    takes_time = only_times | (time_logit > text_logit)
    total = jnp.where(only_times, times_sum, jnp.logaddexp(text_sum, times_sum))
    best = jnp.where(takes_time, time_best, text_best)
    return best, jnp.where(takes_time, time_logit, text_logit) - total


def _allowed_text(loop: _Loop, rules: DecodingRules) -> jax.Array:
    """Which ids below `timestamp_begin` may come next, bool[B, timestamp_begin]."""
    allowed = np.ones(rules.special.timestamp_begin, bool)
    allowed[[i for i in rules.suppress_ids if i < len(allowed)]] = False
    first = allowed.copy()
    first[list(rules.begin_suppress_ids)] = False
    if rules.timestamps:
        first[:] = False  # a transcript begins with a timestamp
    now = jnp.where(loop.step == 0, jnp.asarray(first), jnp.asarray(allowed))[None]
    if not rules.timestamps:
        return now
    # Timestamps come in pairs, except before the end of the text.
    unpaired = loop.last_is_timestamp & ~loop.before_is_timestamp
    is_text = np.arange(len(allowed)) < rules.special.end_of_text
    return now & ~(unpaired[:, None] & is_text)


def _allowed_times(loop: _Loop, rules: DecodingRules, n_vocab: int) -> jax.Array:
    """Which timestamps may come next, bool[B, n_vocab - timestamp_begin]."""
    begin = rules.special.timestamp_begin
    ids = jnp.arange(begin, n_vocab)
    paired = loop.last_is_timestamp & loop.before_is_timestamp
    # Times never decrease, and a segment has some length: only the start that follows an end may equal it.
    opens = loop.last_is_timestamp & ~loop.before_is_timestamp
    floor = jnp.where(loop.last_timestamp == 0, begin, loop.last_timestamp + ~opens)
    ceiling = jnp.where(loop.step == 0, begin + MAX_INITIAL_TIMESTAMP, n_vocab)
    in_range = (ids >= floor[:, None]) & (ids <= ceiling)
    return in_range & ~paired[:, None]
