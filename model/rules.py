"""OpenAI's rules for the next token: timestamps, blanks and suppressed ids.

The same as the logit filters of `whisper/decoding.py` of openai/whisper (`ApplyTimestampRules`,
`SuppressBlank`, `SuppressTokens`), including the rule that times never decrease. N is sequences, V the size
of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.config import MAX_TEXT_POSITIONS, DecodingConfig
from model.interface import ModelOptions
from model.tokens import SpecialTokens

SUGGESTED = -1  # among `suppress_tokens`: the ids that the checkpoint names
MAX_INITIAL_TIMESTAMP = 50  # steps of 20 ms: the first segment starts in the first second


@dataclass(frozen=True)
class DecodingRules:
    """The parameters of decoding that are compiled into the programs.

    Attributes:
        special: the tokenizer's special ids.
        suppress_ids: never written.
        begin_suppress_ids: not written as the first token.
        language_ids: one of these and the task follow the start of the transcript; empty for English-only
            models, which have neither.
        max_new_tokens: the maximum number of tokens written per window.
        beam_size: hypotheses at temperature 0; 1 is greedy.
        patience: a search ends once this many times `beam_size` hypotheses have ended (Kasai et al., 2022).
        length_penalty: alpha of Wu et al. (2016), equation 14; None divides by the length.
    """

    special: SpecialTokens
    suppress_ids: tuple[int, ...]
    begin_suppress_ids: tuple[int, ...]
    language_ids: tuple[int, ...]
    max_new_tokens: int
    beam_size: int
    patience: float
    length_penalty: float | None

    @property
    def n_before_text(self) -> int:
        """Tokens before a text without timestamps, as when it is aligned."""
        return self.n_prefix(timestamps=False)

    def n_prefix(self, *, timestamps: bool) -> int:
        """Returns the tokens from the start of the transcript to the first that the model writes."""
        return 1 + 2 * bool(self.language_ids) + (not timestamps)

    def max_prompt(self, *, timestamps: bool) -> int:
        """Returns the maximum number of tokens of previous text: 448 without the prefix and the new text.

        It is 221 with the default options; openai/whisper uses 224, and then writes up to four tokens fewer.
        """
        return MAX_TEXT_POSITIONS - self.n_prefix(timestamps=timestamps) - self.max_new_tokens


class History(NamedTuple):
    """The part of the tokens written so far that the rules depend on.

    Attributes:
        last_is_timestamp: bool[N].
        before_is_timestamp: bool[N], of the one before the last.
        last_timestamp: int32[N], id of the latest timestamp, 0 before the first.
    """

    last_is_timestamp: jax.Array
    before_is_timestamp: jax.Array
    last_timestamp: jax.Array


def make_rules(
    special: SpecialTokens, decoding: DecodingConfig, options: ModelOptions, *, multilingual: bool
) -> DecodingRules:
    """Returns the rules of a checkpoint.

    Raises:
        ValueError: one of `suppress_tokens` is not an id of the vocabulary below the timestamps.
    """
    suppress_tokens = options.suppress_tokens
    never = {
        special.transcribe,
        special.translate,
        special.start_of_transcript,
        special.start_of_previous,
        special.start_of_lm,
        special.no_speech,
        special.no_timestamps,
    }
    suppressed = never | (set(suppress_tokens) - {SUGGESTED})
    if SUGGESTED in suppress_tokens:
        suppressed |= set(decoding.suppress_ids)
    n_ids = special.timestamp_begin
    if wrong := [i for i in suppress_tokens if not SUGGESTED <= i < n_ids]:
        raise ValueError(f"suppress_tokens: no token has the id {wrong[0]}; ids are 0 to {n_ids - 1}, or -1")
    return DecodingRules(
        special=special,
        suppress_ids=tuple(sorted(suppressed)),
        begin_suppress_ids=decoding.begin_suppress_ids,
        language_ids=tuple(special.languages.values()) if multilingual else (),
        max_new_tokens=options.max_new_tokens,
        beam_size=options.beam_size,
        patience=options.patience,
        length_penalty=options.length_penalty,
    )


class Step(NamedTuple):
    """The token to be written next in each sequence.

    Attributes:
        n_written: int32[N], tokens written before it; below 0 where the prefix is not run yet.
        timestamps: bool[N], whether times are written.
        last_start: int32[N], id of the latest timestamp at which a segment may begin.
        last_time: int32[N], id of the latest timestamp.
    """

    n_written: jax.Array
    timestamps: jax.Array
    last_start: jax.Array
    last_time: jax.Array


def initial_history(n: int) -> History:
    """Returns the history of `n` sequences before their first token.

    The missing token counts as a timestamp, so that the first one written may precede text.
    """
    return History(jnp.zeros(n, bool), jnp.ones(n, bool), jnp.zeros(n, jnp.int32))


def update_history(history: History, token: jax.Array, step: Step, rules: DecodingRules) -> History:
    """Returns the history after `token` int32[N]; it is unchanged where no token is written."""
    is_timestamp = token >= rules.special.timestamp_begin
    updated = History(
        last_is_timestamp=is_timestamp,
        before_is_timestamp=jnp.where(step.n_written == 0, True, history.last_is_timestamp),
        last_timestamp=jnp.where(is_timestamp, token, history.last_timestamp),
    )
    is_written = step.n_written >= 0
    kept: History = jax.tree.map(lambda new, old: jnp.where(is_written, new, old), updated, history)
    return kept


def best_token(
    logits: jax.Array, history: History, step: Step, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the most probable allowed token, and its log probability among the allowed ones.

    The same as the argmax of `allowed_logits`, without computing these. The ids form two ranges, below and
    from `timestamp_begin` on, which are compared: where the timestamps together are likelier than any other
    single token, only timestamps are allowed.

    Args:
        logits: float32[N, V] of the next token.
        history: history of the tokens before it.
        step: the token.
        rules: the decoding rules.

    Returns:
        Ids int32[N] and natural-log probabilities float32[N].
    """
    begin = rules.special.timestamp_begin
    text = jnp.where(_allowed_text(history, step, rules), logits[:, :begin], -jnp.inf)
    text_sum = jax.nn.logsumexp(text, axis=-1)
    text_best, text_logit = _best(text)
    times = jnp.where(_allowed_times(history, step, rules, logits.shape[-1]), logits[:, begin:], -jnp.inf)
    times_sum = jax.nn.logsumexp(times, axis=-1)
    time_best, time_logit = _best(times)
    only_times = times_sum > text_logit
    is_time = only_times | (time_logit > text_logit)
    total = jnp.where(only_times, times_sum, jnp.logaddexp(text_sum, times_sum))
    best = jnp.where(is_time, time_best + begin, text_best)
    return best, jnp.where(is_time, time_logit, text_logit) - total


def _best(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the first largest of each row, int32[N], and its value: XLA's argmax is ten times slower."""
    largest = logits.max(axis=-1)
    ids = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return jnp.where(logits == largest[:, None], ids, logits.shape[-1]).min(axis=-1), largest


def allowed_logits(logits: jax.Array, history: History, step: Step, rules: DecodingRules) -> jax.Array:
    """Returns logits float32[N, V] with minus infinity for forbidden tokens; arguments as of `best_token`."""
    begin = rules.special.timestamp_begin
    text = jnp.where(_allowed_text(history, step, rules), logits[:, :begin], -jnp.inf)
    times = jnp.where(_allowed_times(history, step, rules, logits.shape[-1]), logits[:, begin:], -jnp.inf)
    only_times = jax.nn.logsumexp(times, axis=-1) > text.max(axis=-1)
    return jnp.concatenate([jnp.where(only_times[:, None], -jnp.inf, text), times], axis=-1)


def _allowed_text(history: History, step: Step, rules: DecodingRules) -> jax.Array:
    """Returns a mask of the allowed ids below `timestamp_begin`, bool[N, timestamp_begin]."""
    allowed = np.ones(rules.special.timestamp_begin, bool)
    allowed[[i for i in rules.suppress_ids if 0 <= i < len(allowed)]] = False
    first = allowed.copy()
    first[[i for i in rules.begin_suppress_ids if 0 <= i < len(first)]] = False
    is_first = (step.n_written == 0)[:, None]
    now = jnp.where(is_first, jnp.asarray(first), jnp.asarray(allowed))
    # Timestamps come in pairs, except before the end of the text; and a transcript begins with one.
    unpaired = history.last_is_timestamp & ~history.before_is_timestamp
    is_text = np.arange(len(allowed)) < rules.special.end_of_text
    forbidden = is_first | (unpaired[:, None] & is_text)
    return now & ~(forbidden & step.timestamps[:, None])


def _allowed_times(history: History, step: Step, rules: DecodingRules, n_vocab: int) -> jax.Array:
    """Returns a mask of the allowed timestamps, bool[N, n_vocab - timestamp_begin]."""
    begin = rules.special.timestamp_begin
    ids = jnp.arange(begin, n_vocab)
    paired = history.last_is_timestamp & history.before_is_timestamp
    # Times never decrease, and no segment is empty: only a start may equal the timestamp before it, an end.
    is_start = history.last_is_timestamp & ~history.before_is_timestamp
    floor = jnp.where(history.last_timestamp == 0, begin, history.last_timestamp + ~is_start)
    first = jnp.minimum(begin + MAX_INITIAL_TIMESTAMP, jnp.maximum(step.last_start, begin))
    ceiling = jnp.where(step.n_written == 0, first, jnp.where(is_start, step.last_start, step.last_time))
    in_range = (ids >= floor[:, None]) & (ids <= ceiling[:, None])
    return in_range & ~(paired | ~step.timestamps)[:, None]
