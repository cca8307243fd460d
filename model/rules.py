"""OpenAI's rules for the next token: timestamps, blanks and suppressed ids.

The same as the logit filters of `whisper/decoding.py` of openai/whisper (`ApplyTimestampRules`,
`SuppressBlank`, `SuppressTokens`), including the rule that times never decrease, with one difference: where
no timestamps are to be written, none is allowed, so log probabilities are a little higher there
(docs/measurements.md). N is sequences, V the size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.config import MAX_TEXT_POSITIONS, DecodingConfig
from model.interface import ModelOptions
from model.special_tokens import N_TIMESTAMPS, SpecialTokens

SUGGESTED = -1  # among `suppress_tokens`: the ids that the checkpoint names
MAX_INITIAL_TIMESTAMP = 50  # steps of 20 ms, 1 s: openai/whisper's, where the checkpoint names none


@dataclass(frozen=True)
class DecodingRules:
    """The parameters of decoding that are compiled into the programs.

    Attributes:
        special: the tokenizer's special ids.
        suppress_ids: never written.
        begin_suppress_ids: not written as the first token.
        language_ids: one of these and the task follow the start of the transcript; empty for English-only
            models, which have neither.
        max_initial_timestamp: the latest time at which the first segment may start, in steps of 20 ms.
        max_new_tokens: the maximum number of tokens written per window.
        beam_size: hypotheses at temperature 0; 1 is greedy.
        best_of: hypotheses above temperature 0, of which the likeliest is kept.
        patience: a search ends once this many times `beam_size` hypotheses have ended (Kasai et al., 2022).
        length_penalty: alpha of Wu et al. (2016), equation 14; None divides by the length.
    """

    special: SpecialTokens
    suppress_ids: tuple[int, ...]
    begin_suppress_ids: tuple[int, ...]
    language_ids: tuple[int, ...]
    max_initial_timestamp: int
    max_new_tokens: int
    beam_size: int
    best_of: int
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
        ValueError: one of `suppress_tokens` is not an id of the vocabulary, or is a timestamp.
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
    suppressed = never | set(special.unused) | (set(suppress_tokens) - {SUGGESTED})
    if SUGGESTED in suppress_tokens:
        suppressed |= set(decoding.suppress_ids)
    _check_suppressed(suppress_tokens, special)
    latest = decoding.max_initial_timestamp
    return DecodingRules(
        special=special,
        suppress_ids=tuple(sorted(suppressed)),
        begin_suppress_ids=decoding.begin_suppress_ids,
        language_ids=tuple(special.languages.values()) if multilingual else (),
        max_initial_timestamp=MAX_INITIAL_TIMESTAMP if latest is None else min(latest, N_TIMESTAMPS - 1),
        max_new_tokens=options.max_new_tokens,
        beam_size=options.beam_size,
        best_of=options.best_of,
        patience=options.patience,
        length_penalty=options.length_penalty,
    )


def _check_suppressed(suppress_tokens: Sequence[int], special: SpecialTokens) -> None:
    last = special.timestamp_begin - 1
    for token in suppress_tokens:
        is_behind = special.timestamp_stop <= token < special.timestamp_stop + special.n_behind
        if not (SUGGESTED <= token <= last or is_behind):
            raise ValueError(
                f"suppress_tokens: no token has the id {token}; ids are 0 to {last}, or -1, and the tokens "
                f"behind the timestamps are {special.n_behind}"
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
    special = rules.special
    is_timestamp = token >= special.timestamp_begin
    if special.n_behind:
        is_timestamp &= token < special.timestamp_stop
    updated = History(
        last_is_timestamp=is_timestamp,
        before_is_timestamp=jnp.where(step.n_written == 0, True, history.last_is_timestamp),
        last_timestamp=jnp.where(is_timestamp, token, history.last_timestamp),
    )
    is_written = step.n_written >= 0
    kept: History = jax.tree.map(lambda new, old: jnp.where(is_written, new, old), updated, history)
    return kept


def is_text(token: jax.Array, special: SpecialTokens) -> jax.Array:
    """Whether each token is text, of the shape of `token`; tokens that fine-tuning added may be, too."""
    below_end = token < special.end_of_text
    return below_end | jnp.isin(token, np.array(special.added_text)) if special.added_text else below_end


def best_token(
    logits: jax.Array, history: History, step: Step, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the most probable allowed token, and its log probability among the allowed ones.

    The same as the argmax of `allowed_logits`, without computing these. The timestamps and the other ids are
    compared: where the timestamps together are likelier than any other single token, only they are allowed.

    Args:
        logits: float32[N, V] of the next token.
        history: history of the tokens before it.
        step: the token.
        rules: the decoding rules.

    Returns:
        Ids int32[N] and natural-log probabilities float32[N].
    """
    begin = rules.special.timestamp_begin
    text, times = _allowed_parts(logits, history, step, rules)
    text_sum = jax.nn.logsumexp(text, axis=-1)
    text_best, text_logit = _best(text)
    times_sum = jax.nn.logsumexp(times, axis=-1)
    time_best, time_logit = _best(times)
    only_times = times_sum > text_logit
    is_time = only_times | (time_logit > text_logit)
    total = jnp.where(only_times, times_sum, jnp.logaddexp(text_sum, times_sum))
    if rules.special.n_behind:
        text_best += jnp.where(text_best >= begin, times.shape[-1], 0)
    best = jnp.where(is_time, time_best + begin, text_best)
    return best, jnp.where(is_time, time_logit, text_logit) - total


def _best(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the first largest of each row, int32[N], and its value: XLA's argmax is ten times slower."""
    largest = logits.max(axis=-1)
    ids = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return jnp.where(logits == largest[:, None], ids, logits.shape[-1]).min(axis=-1), largest


def allowed_logits(logits: jax.Array, history: History, step: Step, rules: DecodingRules) -> jax.Array:
    """Returns logits float32[N, V] with minus infinity for forbidden tokens; arguments as of `best_token`."""
    text, times = _allowed_parts(logits, history, step, rules)
    only_times = jax.nn.logsumexp(times, axis=-1) > text.max(axis=-1)
    text = jnp.where(only_times[:, None], -jnp.inf, text)
    begin = rules.special.timestamp_begin
    joined = jnp.concatenate([text[:, :begin], times, text[:, begin:]], axis=-1)
    n_spare = logits.shape[-1] - joined.shape[-1]  # rows of the embedding without a token
    return jnp.pad(joined, ((0, 0), (0, n_spare)), constant_values=-jnp.inf) if n_spare else joined


def _allowed_parts(
    logits: jax.Array, history: History, step: Step, rules: DecodingRules
) -> tuple[jax.Array, jax.Array]:
    """Returns the logits of all ids but timestamps, and those of timestamps; forbidden ones minus infinity.

    Ids behind the timestamps follow those below. Those above the highest id of a token are in neither.
    """
    special = rules.special
    begin, stop = special.timestamp_begin, special.timestamp_stop
    text, times = logits[:, :begin], logits[:, begin:stop]
    if special.n_behind:
        text = jnp.concatenate([text, logits[:, stop : stop + special.n_behind]], axis=-1)
    text = jnp.where(_allowed_text(history, step, rules), text, -jnp.inf)
    return text, jnp.where(_allowed_times(history, step, rules, times.shape[-1]), times, -jnp.inf)


def _allowed_text(history: History, step: Step, rules: DecodingRules) -> jax.Array:
    """Returns a mask of the allowed ids that are no timestamps, bool[N, `timestamp_begin` + `n_behind`]."""
    allowed = np.ones(rules.special.timestamp_begin + rules.special.n_behind, bool)
    allowed[_columns(rules.suppress_ids, rules.special)] = False
    first = allowed.copy()
    first[_columns(rules.begin_suppress_ids, rules.special)] = False
    is_first = (step.n_written == 0)[:, None]
    now = jnp.where(is_first, jnp.asarray(first), jnp.asarray(allowed))
    # Timestamps come in pairs, except before the end of the text; and a transcript begins with one.
    unpaired = history.last_is_timestamp & ~history.before_is_timestamp
    is_text = np.arange(len(allowed)) < rules.special.end_of_text
    is_text[_columns(rules.special.added_text, rules.special)] = True
    forbidden = is_first | (unpaired[:, None] & is_text)
    return now & ~(forbidden & step.timestamps[:, None])


def _columns(ids: Sequence[int], special: SpecialTokens) -> list[int]:
    """Returns the places of ids among all that are no timestamps; others are left out."""
    behind = range(special.timestamp_stop, special.timestamp_stop + special.n_behind)
    below = [i for i in ids if 0 <= i < special.timestamp_begin]
    return below + [special.timestamp_begin + i - special.timestamp_stop for i in ids if i in behind]


def _allowed_times(history: History, step: Step, rules: DecodingRules, n_times: int) -> jax.Array:
    """Returns a mask of the allowed timestamps, bool[N, n_times]."""
    begin = rules.special.timestamp_begin
    ids = jnp.arange(begin, begin + n_times)
    paired = history.last_is_timestamp & history.before_is_timestamp
    # Times never decrease, and no segment is empty: only a start may equal the timestamp before it, an end.
    is_start = history.last_is_timestamp & ~history.before_is_timestamp
    floor = jnp.where(history.last_timestamp == 0, begin, history.last_timestamp + ~is_start)
    first = jnp.minimum(begin + rules.max_initial_timestamp, jnp.maximum(step.last_start, begin))
    ceiling = jnp.where(step.n_written == 0, first, jnp.where(is_start, step.last_start, step.last_time))
    in_range = (ids >= floor[:, None]) & (ids <= ceiling[:, None])
    return in_range & ~(paired | ~step.timestamps)[:, None]
