"""The rules, as OpenAI documents them, on a decoder whose logits are a script of the test."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import beam_search, best_of, sampling
from model.attention import KeyValue
from model.checkpoint import Checkpoint
from model.config import DecodingConfig
from model.decoder import CrossKV, Slots, TextCaches
from model.interface import SAMPLE_RATE, ModelOptions
from model.method_programs import MethodPrograms
from model.repetition import MIN_COPIES, MIN_REPEATED_TOKENS
from model.rows import RowInput, Written
from model.rules import DecodingRules, make_rules
from model.tokens import SpecialTokens, WhisperTokenizer
from model.window_length import last_times
from tests.support.decode_helpers import (
    Logprobs,
    RowBatch,
    decoder_that_ends,
    plain_logprobs,
    prefix_of,
    programs_of,
    random_audio,
    result_of,
    row_input,
)

# A small vocabulary in Whisper's order: text, end, start, languages, tasks, timestamps.
END, START, EN, FR, TRANSLATE, TRANSCRIBE, LM, PREVIOUS, NO_SPEECH, NO_TIMES, BEGIN = range(10, 21)
SPECIAL = SpecialTokens(
    START, END, TRANSCRIBE, TRANSLATE, PREVIOUS, LM, NO_SPEECH, NO_TIMES, BEGIN, {"en": EN, "fr": FR}
)
N_VOCAB = BEGIN + 1501
RULES = make_rules(SPECIAL, DecodingConfig(), ModelOptions(beam_size=1), multilingual=True)
BEAMS = replace(RULES, beam_size=2)

Likes = Sequence[dict[int, float]]
"""Likely tokens at each step behind the prefix, with their logits; others have -10. Then comes the end."""


class Script:
    """A decoder whose logits are in the place of the audio; its caches are the tokens that it was fed."""

    def init_caches(self, batch: int, length: int) -> TextCaches:
        fed = jnp.full((batch, 1, length, 1), -1.0)
        return (KeyValue(fed, fed),)

    def prompt_caches(self, tokens: jax.Array, cross_kv: CrossKV, audio_mask: jax.Array) -> TextCaches:
        fed = tokens.astype(jnp.float32)[:, None, :, None]
        return (KeyValue(fed, fed),)

    def __call__(
        self, tokens: jax.Array, positions: jax.Array, slots: Slots, caches: TextCaches, cross_kv: CrossKV
    ) -> tuple[jax.Array, TextCaches]:
        """Returns logits as the states."""
        place = slots.first[:, None] + jnp.arange(tokens.shape[1])
        rows = jnp.arange(len(tokens))[:, None]
        fed = caches[0].key.at[rows, 0, place, 0].set(tokens.astype(jnp.float32))
        table = jnp.asarray(cross_kv[0].key)[:, 0]
        logits = table[rows, jnp.minimum(positions, table.shape[1] - 1)]
        return jnp.broadcast_to(logits, (*tokens.shape, N_VOCAB)), (KeyValue(fed, fed),)

    def logits(self, states: jax.Array) -> jax.Array:
        return states


def table_of(script: Likes, n_prefix: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The logits of a script, by position."""
    first = n_prefix - 1
    table = np.full((64 if first + len(script) < 64 else 448, N_VOCAB), -10.0, np.float32)
    for i, likes in enumerate(script[: len(table) - first]):
        for token, logit in likes.items():
            table[first + i, token] = logit
    table[first + len(script) :, END] = 50.0
    return table


_RULES: dict[str, DecodingRules] = {}


@cache
def programs(key: str) -> MethodPrograms:
    """The programs for the rules of this representation, which are compiled once for all tests."""
    rules = _RULES[key]
    method = beam_search if rules.beam_size > 1 else best_of if rules.best_of > 1 else sampling
    return programs_of(method, Script(), rules)


def batch_of(
    tables: Sequence[np.ndarray[Any, np.dtype[np.float32]]],
    rows: Sequence[RowInput],
    rules: DecodingRules,
) -> RowBatch:
    """A batch of the rows, each with its own logits."""
    key = repr(rules)
    _RULES[key] = rules
    audio = KeyValue(jnp.asarray(np.stack(tables)[:, None]), jnp.zeros((len(tables), 1, 1, 1)))
    n_before = rows[0].prompt.shape[0]
    batch = RowBatch(programs(key), (audio,), n_rows=len(rows), n_before=n_before)
    for index, row in enumerate(rows):
        batch.insert(index, index, row)
    return batch


def run(script: Likes, rules: DecodingRules = RULES, *, timestamps: bool = True, **asked: Any) -> Written:  # noqa: ANN401  # of `row_input`
    table = table_of(script, rules.n_prefix(timestamps=timestamps))
    return batch_of([table], [row_input(rules, timestamps=timestamps, **asked)], rules).advance()


def tokens_of(script: Likes, rules: DecodingRules = RULES, **asked: Any) -> list[int]:  # noqa: ANN401  # of `row_input`
    return result_of(run(script, rules, **asked)).tokens


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_writes_the_likeliest_tokens_up_to_the_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 9}, {at(1): 9}]) == [at(0), 1, 2, at(1)]


def test_a_transcript_begins_with_a_timestamp_of_its_first_second() -> None:
    assert tokens_of([{1: 9, at(1.5): 8, at(0.7): 1}, {2: 9}])[0] == at(0.7)


def test_times_come_in_pairs_so_that_text_cannot_follow_an_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {at(1): 9}, {2: 9, at(1.5): 1}])[3] == at(1.5)


def test_the_text_may_end_after_an_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {at(1): 9}, {END: 9}]) == [at(0), 1, at(1)]


def test_text_follows_a_start() -> None:
    assert tokens_of([{at(0): 9}, {at(1): 9, 3: 1}])[1] == 3


def test_times_do_not_decrease() -> None:
    script = [{at(0.5): 9}, {1: 9}, {at(0.2): 9, at(2): 8}, {at(1.9): 9, at(2): 8}, {2: 9}]
    assert tokens_of(script)[2:4] == [at(2), at(2)]


def test_no_segment_is_empty() -> None:
    assert tokens_of([{at(0.5): 9}, {1: 9}, {at(0.5): 9, at(0.52): 8}])[2] == at(0.52)


def test_a_start_may_equal_the_end_before_it_but_not_its_own_end() -> None:
    script = [{at(0): 9}, {1: 9}, {at(1): 9}, {at(1): 9}, {2: 9}, {at(1): 9, at(3): 8}]
    assert tokens_of(script) == [at(0), 1, at(1), at(1), 2, at(3)]


def test_many_unlikely_times_outweigh_one_likelier_word() -> None:
    likely_together = {at(1 + i / 50): 4.0 for i in range(20)}
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 5.0, **likely_together}])[2] >= BEGIN
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 9.0, **likely_together}])[2] == 2


def test_suppressed_ids_are_never_written() -> None:
    rules = replace(RULES, suppress_ids=(*RULES.suppress_ids, 1))
    specials = {START: 20.0, NO_SPEECH: 20.0, PREVIOUS: 20.0, TRANSLATE: 20.0, NO_TIMES: 20.0}
    assert tokens_of([{at(0): 9}, {1: 19, 2: 9, **specials}], rules)[1] == 2


def test_blank_and_end_are_not_the_first_token() -> None:
    rules = replace(RULES, begin_suppress_ids=(0, END))
    assert tokens_of([{0: 9, END: 8, 3: 7}, {0: 9}], rules, timestamps=False) == [3, 0]


def test_without_timestamps_none_is_written() -> None:
    assert tokens_of([{1: 5, at(3): 9}, {2: 5}], timestamps=False) == [1, 2]


def test_log_probability_is_the_mean_over_what_was_allowed() -> None:
    generated = run([{1: 5.0, at(3): 40.0}], timestamps=False)
    allowed = np.full(BEGIN, -10.0)
    allowed[1] = 5.0
    allowed = np.delete(allowed, [START, TRANSLATE, TRANSCRIBE, LM, PREVIOUS, NO_SPEECH, NO_TIMES])
    first = 5.0 - np.log(np.exp(allowed).sum())
    assert float(generated.sum_logprob[0]) == pytest.approx(first, abs=1e-4)  # the end is certain


def test_once_times_win_probability_is_among_times() -> None:
    times = {at(1): 4.0, at(2): 3.9}
    generated = run([{at(0): 60}, {1: 60}, {2: 4.1, **times}])
    assert float(generated.sum_logprob[0]) == pytest.approx(
        4.0 - np.log(np.exp(4.0) + np.exp(3.9) + 1400 * np.exp(-10)), abs=0.01
    )


def test_a_window_that_never_ends_stops_after_224_tokens() -> None:
    rng = np.random.default_rng(0)
    never_the_same = [{int(token): 20.0} for token in rng.integers(0, 10, 400)]
    generated = run(never_the_same, timestamps=False)
    assert int(generated.n_tokens[0]) == 224
    assert not generated.repeated[0]
    fewer = run(never_the_same, replace(RULES, max_new_tokens=50), timestamps=False)
    assert int(fewer.n_tokens[0]) == 50


@pytest.mark.parametrize("rules", [RULES, BEAMS])
@pytest.mark.parametrize("period", [1, 3, 10, 40])
def test_a_window_that_repeats_itself_is_stopped_at_once(rules: DecodingRules, period: int) -> None:
    sentence = np.random.default_rng(1).integers(0, 10, period).tolist()
    generated = run([{token: 20.0} for token in (sentence * 400)[:400]], rules, timestamps=False)
    assert generated.repeated[0]
    n_repeated = max((MIN_COPIES - 1) * period, MIN_REPEATED_TOKENS)
    assert int(generated.n_tokens[0]) <= period + n_repeated


@pytest.mark.parametrize("rules", [RULES, BEAMS])
def test_tokens_that_fine_tuning_added_count_as_repetition(rules: DecodingRules) -> None:
    script: Likes = [{token: 20.0} for token in (EN, FR) * 200]
    added = replace(rules, special=replace(SPECIAL, added_text=(EN, FR)))
    assert run(script, added, timestamps=False).repeated[0]
    assert not run(script, rules, timestamps=False).repeated[0]


def test_times_between_copies_do_not_hide_a_repetition() -> None:
    script = [
        like
        for second in range(0, 30, 1)
        for like in ({at(second): 30.0}, {1: 20.0}, {2: 20.0}, {3: 20.0}, {at(second + 1): 30.0})
    ]
    generated = run(script)
    assert generated.repeated[0]
    assert int(generated.n_tokens[0]) < 60


def test_three_times_the_same_sentence_are_no_repetition() -> None:
    sentence = list(range(10))
    generated = run([{token: 20.0} for token in sentence * 3], timestamps=False)
    assert not generated.repeated[0]
    assert int(generated.n_tokens[0]) == 30


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_sampling_depends_on_the_uniforms_and_the_temperature(temperature: float) -> None:
    n, table = 99, table_of([{1: 1.0, 2: 0.0}], n_prefix=4)
    uniforms = np.tile(np.linspace(0.01, 0.99, n)[:, None], (1, RULES.max_new_tokens))
    rows = [row_input(RULES, timestamps=False, temperature=temperature, uniforms=row) for row in uniforms]
    written = batch_of([table] * n, rows, RULES).advance()
    is_one = written.tokens[:, 0] == 1
    assert float(is_one.mean()) == pytest.approx(1 / (1 + np.exp(-1 / temperature)), abs=0.02)
    first = written.sum_logprob[is_one][0]
    assert float(first) == pytest.approx(-np.log(1 + np.exp(-1)), abs=1e-3)  # at temperature 1


def test_each_token_is_sampled_with_a_number_of_its_own() -> None:
    uniforms = np.resize([0.1, 0.9, 0.9, 0.1, 0.9], RULES.max_new_tokens)
    script = [{1: 1.0, 2: 1.0}] * 5
    found = tokens_of(script, timestamps=False, temperature=1.0, uniforms=uniforms)
    assert found == [1, 2, 2, 1, 2]


def test_sampling_keeps_the_rules() -> None:
    rules = replace(RULES, suppress_ids=(*RULES.suppress_ids, 1))
    table = table_of([{1: 30.0, 2: 0.0, 3: 0.0, at(3): 40.0}] * 5, n_prefix=4)
    rows = [
        row_input(rules, timestamps=False, temperature=1.0, uniforms=np.full(rules.max_new_tokens, uniform))
        for uniform in np.linspace(0.0, 1.0 - 2**-24, 64)
    ]
    written = batch_of([table] * 64, rows, rules).advance()
    assert set(np.unique(written.tokens)) <= {*range(10), END, EN, FR} - {1}
    assert {2, 3} <= set(np.unique(written.tokens))


def test_a_window_at_temperature_0_is_greedy_beside_one_that_is_sampled() -> None:
    table = table_of([{1: 1.0, 2: 0.9}] * 4, n_prefix=4)
    uniforms = np.full(RULES.max_new_tokens, 0.999)
    rows = [
        row_input(RULES, timestamps=False, temperature=temperature, uniforms=uniforms)
        for temperature in (0.0, 1.0)
    ]
    written = batch_of([table] * 2, rows, RULES).advance()
    assert written.tokens[0, :4].tolist() == [1, 1, 1, 1]
    assert 1 not in written.tokens[1, :4].tolist()


def test_each_row_of_a_batch_has_times_or_not() -> None:
    likes: Likes = [{at(0): 9, 1: 9.5}, {1: 9, at(1): 8}, {at(1): 9, 2: 8}]
    rows = [row_input(RULES, timestamps=timestamps) for timestamps in (True, False)]
    written = batch_of([table_of(likes, 3), table_of(likes, 4)], rows, RULES).advance()
    assert [result_of(written, row).tokens for row in range(2)] == [[at(0), 1, at(1)], [1, 1, 2]]


SHORT = (at(0.7) - BEGIN, at(1) - BEGIN)  # of a window of 1 s


@pytest.mark.parametrize("rules", [RULES, BEAMS])
def test_no_segment_of_a_short_window_begins_or_ends_behind_its_audio(rules: DecodingRules) -> None:
    likes: Likes = [{at(0.1): 20}, {1: 20}, {at(1.2): 30, at(0.6): 20}]
    likes = [*likes, {at(1.2): 30, at(0.8): 30, at(0.7): 20}, {2: 20}, {at(2): 30, at(1): 20}]
    assert tokens_of(likes, rules, last_times=SHORT) == [at(0.1), 1, at(0.6), at(0.7), 2, at(1)]
    assert tokens_of(likes, rules) == [at(0.1), 1, at(1.2), at(1.2), 2, at(2)]


@pytest.mark.parametrize("rules", [RULES, BEAMS])
@pytest.mark.parametrize("end", [0.72, 0.9, 1.0])
def test_the_text_ends_behind_an_end_after_which_no_segment_may_begin(
    rules: DecodingRules, end: float
) -> None:
    likes: Likes = [{at(0): 20}, {1: 20}, {at(end): 20}]
    likes = [*likes, {at(end): 20, END: 5}, {2: 20}, {at(3): 20}]
    assert tokens_of(likes, rules, last_times=SHORT) == [at(0), 1, at(end)]
    assert tokens_of(likes, rules) == [at(0), 1, at(end), at(end), 2, at(3)]


@pytest.mark.parametrize("rules", [RULES, BEAMS])
def test_the_first_segment_of_a_short_window_begins_in_it(rules: DecodingRules) -> None:
    likes: Likes = [{at(0.9): 20, at(0.7): 18}, {1: 20}, {at(1): 20}]
    assert tokens_of(likes, rules, last_times=SHORT) == [at(0.7), 1, at(1)]
    assert tokens_of(likes, rules)[0] == at(0.9)


@pytest.mark.parametrize("rules", [RULES, BEAMS])
@pytest.mark.parametrize(("n_samples", "stop"), [(1, 0.02), (3000, 0.2), (4800, 0.3), (4801, 0.32)])
def test_a_window_of_less_than_a_segment_has_one_from_its_start(
    rules: DecodingRules, n_samples: int, stop: float
) -> None:
    likes: Likes = [{at(0.2): 20, at(0): 18}, {1: 20}, {at(0.5): 20, at(stop): 18}]
    likes = [*likes, {at(stop): 20, 2: 20, END: 5}]
    limits = last_times(n_samples, 4 * SAMPLE_RATE)
    assert tokens_of(likes, rules, last_times=limits) == [at(0), 1, at(stop)]


def test_sampling_keeps_the_limits_of_short_windows() -> None:
    likes: Likes = [{at(second / 10): 5.0 for second in range(30)} | {1: 5.0, 2: 5.0}] * 40
    random = np.random.default_rng(0)
    limits = [SHORT if row % 2 == 0 else (1500, 1500) for row in range(32)]
    rows = [
        row_input(RULES, last_times=limit, temperature=1.5, uniforms=random.random(RULES.max_new_tokens))
        for limit in limits
    ]
    written = batch_of([table_of(likes)] * len(rows), rows, RULES).advance()
    latest = written.tokens.max(axis=1)
    assert (latest[::2] <= at(1)).all()
    assert (latest[1::2] > at(1)).any()
    for tokens in written.tokens[::2].tolist():
        starts = [b for a, b in zip([BEGIN, *tokens], tokens, strict=False) if a >= BEGIN and b >= BEGIN]
        assert all(start <= at(0.7) for start in starts)


@pytest.mark.parametrize("rules", [RULES, BEAMS])
def test_limits_of_times_mean_nothing_without_times(rules: DecodingRules) -> None:
    likes: Likes = [{1: 20, at(0): 19}, {2: 20}]
    assert tokens_of(likes, rules, timestamps=False, last_times=(0, 1)) == [1, 2]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_text_is_that_of_a_plain_loop(tiny_checkpoint: Checkpoint, temperature: float) -> None:
    """Each token from the probabilities of the whole text before it; sampled by inversion in float64."""
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    options = ModelOptions(beam_size=1, max_new_tokens=12)
    rules = make_rules(special, tiny_checkpoint.decoding, options, multilingual=True)
    decoder, rules = decoder_that_ends(tiny_checkpoint.config, rules)
    cross_kv = decoder.cross_kv(random_audio(decoder, 3))
    batch = RowBatch(programs_of(sampling, decoder, rules), cross_kv)
    uniforms = np.random.default_rng(2).random((3, rules.max_new_tokens))
    for window in range(3):
        given = row_input(rules, timestamps=window != 1, temperature=temperature, uniforms=uniforms[window])
        batch.insert(window, window, given)
    written = batch.advance()
    for window in range(3):
        timestamps = window != 1
        own: CrossKV = jax.tree.map(lambda x, window=window: x[window : window + 1], cross_kv)
        prefix = prefix_of(rules, timestamps=timestamps)
        logprobs_of = plain_logprobs(decoder, own, rules, prefix, timestamps=timestamps)
        tokens, total = plain_text(logprobs_of, rules, temperature, uniforms[window])
        found = result_of(written, window)
        assert found.tokens == tokens
        assert found.sum_logprob == pytest.approx(total, abs=1e-3)
    assert written.n_tokens.min() < rules.max_new_tokens, "no text has ended"


def plain_text(
    logprobs_of: Logprobs, rules: DecodingRules, temperature: float, uniforms: np.ndarray[Any, Any]
) -> tuple[list[int], float]:
    tokens, total = list[int](), 0.0
    for uniform in uniforms:
        logprobs = logprobs_of(tokens).astype(np.float64)
        token = int(logprobs.argmax())
        if temperature:
            shares = np.exp(logprobs / temperature)
            token = int(np.searchsorted(shares.cumsum(), uniform * shares.sum(), side="right"))
        total += logprobs[token]
        if token == rules.special.end_of_text:
            break
        tokens.append(token)
    return tokens, total
